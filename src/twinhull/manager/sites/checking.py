"""What a site can do, and whether its platform keeps the contract there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twinhull.manager.sites.identities import require_another
from twinhull.model.errors import AlreadyExists, SiteError
from twinhull.model.machine import SiteName
from twinhull.model.ports import Ports
from twinhull.platforms.conformance.kit import Check, Verdict, run_conformance
from twinhull.platforms.contract import Capability, Site, SiteIdentity, Support


@dataclass(frozen=True, slots=True)
class SiteCheck:
    """All that was found."""

    name: str
    capabilities: Mapping[Capability, Support]
    checks: Sequence[Check]

    def shape(self) -> dict[str, object]:
        """As data."""
        return {
            "site": self.name,
            "capabilities": [
                {"capability": capability.value, "is_supported": support.is_supported, "reason": support.reason}
                for capability, support in self.capabilities.items()
            ],
            "checks": [
                {"name": check.name, "verdict": check.verdict.value, "seconds": check.seconds, "reason": check.reason}
                for check in self.checks
            ],
        }

    def failed(self) -> SiteError | None:
        """The error that tells of failed checks, if there are any."""
        failed = [check for check in self.checks if check.verdict is Verdict.FAILED]
        if not failed:
            return None
        return SiteError(
            f"The site '{self.name}' failed {len(failed)} of {len(self.checks)} checks, "
            f"first '{failed[0].name}': {failed[0].reason}"
        )


def check_site(
    site: Site, ports: Ports, others: Mapping[SiteName, SiteIdentity], *, is_looking_only: bool
) -> SiteCheck:
    """Ask what it can do, and try it on a scratch machine that is gone afterwards.

    A site that is another one under a second name is not tried.
    """
    checks = [_is_another(site, others)]
    if checks[0].verdict is Verdict.PASSED and not is_looking_only:
        checks += run_conformance(site, ports)
    return SiteCheck(site.settings.name, site.capabilities(), checks)


def _is_another(site: Site, others: Mapping[SiteName, SiteIdentity]) -> Check:
    """No other site has the same host or the same directory."""
    try:
        require_another(site.settings.name, site.identity(), others)
    except AlreadyExists as error:
        return Check("a host of its own", Verdict.FAILED, 0.0, f"{error.message} {error.hint}")
    return Check("a host of its own", Verdict.PASSED, 0.0)
