"""Whether a site answers, what it can do, and whether its platform keeps the contract there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from twinhull.model.errors import SiteError, TwinhullError
from twinhull.platforms.contract import Capability, Site, Support


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried. ``result`` is ``ok``, ``failed`` or ``left out``."""

    name: str
    result: str
    reason: str


@dataclass(frozen=True, slots=True)
class SiteCheck:
    """All that was found."""

    name: str
    capabilities: Mapping[Capability, Support]
    findings: Sequence[Finding]

    def shape(self) -> dict[str, object]:
        """As data."""
        return {
            "site": self.name,
            "capabilities": [
                {"capability": capability.value, "is_supported": support.is_supported, "reason": support.reason}
                for capability, support in self.capabilities.items()
            ],
            "checks": [
                {"name": finding.name, "result": finding.result, "reason": finding.reason} for finding in self.findings
            ],
        }

    def raise_if_broken(self) -> None:
        """Raises SiteError where a check failed."""
        broken = [finding for finding in self.findings if finding.result == "failed"]
        if broken:
            raise SiteError(
                f"The site '{self.name}' failed {len(broken)} of {len(self.findings)} checks, "
                f"first '{broken[0].name}': {broken[0].reason}"
            )


def check(site: Site) -> SiteCheck:
    """Try what leaves nothing behind: looking at machines, standings and leftovers."""
    findings = [_try(name, probe) for name, probe in _probes(site)]
    return SiteCheck(site.settings.name, site.capabilities(), findings)


def _probes(site: Site) -> list[tuple[str, Callable[[], str]]]:
    return [
        ("inventory", lambda: f"{len(site.machines())} machines"),
        ("every machine alone", lambda: _each_machine(site)),
        ("standings", lambda: f"{len(site.standings())} standings"),
        ("leftovers", lambda: _leftovers(site)),
        ("capabilities", lambda: _capabilities(site)),
    ]


def _each_machine(site: Site) -> str:
    names = [site.machine(status.spec.machine_id).spec.name for status in site.machines()]
    return ", ".join(names)


def _leftovers(site: Site) -> str:
    found = site.leftovers(None, ())
    return "; ".join(f"{leftover.kind} {leftover.name}" for leftover in found) or "none"


def _capabilities(site: Site) -> str:
    missing = [capability.value for capability in Capability if capability not in site.capabilities()]
    silent = [
        capability.value
        for capability, support in site.capabilities().items()
        if not support.is_supported and not support.reason
    ]
    if missing or silent:
        raise SiteError(f"not told: {', '.join(missing)}; told without a reason: {', '.join(silent)}")
    return ""


def _try(name: str, probe: Callable[[], str]) -> Finding:
    try:
        return Finding(name, "ok", probe())
    except TwinhullError as error:
        return Finding(name, "failed", error.message)
