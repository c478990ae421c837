"""What a site can do, and whether its platform keeps the contract there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twinhull.model.errors import SiteError
from twinhull.model.ports import Ports
from twinhull.platforms.conformance import Check, Verdict, run_conformance
from twinhull.platforms.contract import Capability, Site, Support


@dataclass(frozen=True, slots=True)
class SiteCheck:
    """All that was found. ``checks`` is empty where nothing was to be tried."""

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


def check_site(site: Site, ports: Ports, *, is_looking_only: bool) -> SiteCheck:
    """Ask what it can do, and try it on a scratch machine that is gone afterwards."""
    checks = [] if is_looking_only else run_conformance(site, ports)
    return SiteCheck(site.settings.name, site.capabilities(), checks)
