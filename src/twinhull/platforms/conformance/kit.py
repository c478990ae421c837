"""The conformance kit: what every site must do, tried on the site itself, a user's own one included.

It touches nothing but a scratch machine that it makes itself (``twinhull-check-…``, one small disk, no network) and
removes on every way out. What a site says it cannot do is not tried, and told with the site's own reason::

    for check in run_conformance(site, ports):
        print(check.verdict, check.name, check.reason)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from twinhull.model.errors import NotSupportedHere, TwinhullError
from twinhull.model.ports import Ports
from twinhull.platforms.conformance.checks import CHECKS, Nonconforming, Trial
from twinhull.platforms.conformance.scratch import Scratch
from twinhull.platforms.contract import Absent, Capability, Site, Support


class Verdict(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried. ``reason`` says why it failed or was not tried; empty where it passed."""

    name: str
    verdict: Verdict
    seconds: float
    reason: str = ""


def run_conformance(site: Site, ports: Ports, on_check: Callable[[Check], None] = lambda _: None) -> list[Check]:
    """Try everything, in order; ``on_check`` is told of each check as it ends. Never raises for what the site does."""
    scratch = Scratch(site, ports)
    results: list[Check] = []

    def note(check: Check) -> None:
        results.append(check)
        on_check(check)

    try:
        capabilities: dict[Capability, Support] = {}
        # Asked once: a site may have to try things to find out.
        asked = _timed("capabilities", ports, lambda: capabilities.update(site.capabilities()))
        if asked.verdict is not Verdict.PASSED:
            note(asked)
        for trial in CHECKS:
            note(_try(trial, capabilities, scratch, ports) if capabilities else _not_asked(trial))
    finally:
        note(_timed("leave nothing behind", ports, lambda: _leave_nothing(site, scratch)))
    return results


def _not_asked(trial: Trial) -> Check:
    return Check(trial.name, Verdict.FAILED, 0.0, "Not tried: the site did not say what it can do.")


def _try(trial: Trial, capabilities: Mapping[Capability, Support], scratch: Scratch, ports: Ports) -> Check:
    needs = [*trial.needs, Capability.REPLICA] if trial.is_on_scratch else trial.needs
    missing = [reason for needed in needs if (reason := _missing(capabilities, needed))]
    if missing:
        return Check(trial.name, Verdict.UNSUPPORTED, 0.0, missing[0])
    if trial.is_on_scratch and not scratch.is_made:
        return Check(trial.name, Verdict.FAILED, 0.0, "Not tried: the scratch machine could not be made.")
    return _timed(trial.name, ports, lambda: trial.act(scratch))


def _timed(name: str, ports: Ports, act: Callable[[], None]) -> Check:
    started = ports.clock.monotonic()
    verdict, reason = Verdict.PASSED, ""
    try:
        act()
    except NotSupportedHere as error:
        verdict, reason = Verdict.UNSUPPORTED, error.message
    except (Nonconforming, TwinhullError) as error:
        verdict, reason = Verdict.FAILED, str(error)
    except Exception as error:  # noqa: BLE001 - a driver that fails in an undocumented way is what the kit is to tell
        verdict, reason = Verdict.FAILED, f"An undocumented error came out of the site: {error!r}"
    return Check(name, verdict, round(ports.clock.monotonic() - started, 3), reason)


def _missing(capabilities: Mapping[Capability, Support], capability: Capability) -> str:
    support = capabilities.get(capability)
    if support is None:
        return f"The site does not say whether it can do '{capability}'."
    return "" if support.is_supported else support.reason or f"The site says that it cannot: {capability}."


def _leave_nothing(site: Site, scratch: Scratch) -> None:
    if isinstance(site.parts.replicas, Absent):
        return  # no scratch machine can have been made
    scratch.remove()
    machine_id = scratch.machine_id
    if any(status.spec.machine_id == machine_id for status in site.inventory.machines()):
        raise Nonconforming("The scratch machine is still there after it was removed.")
    if site.standings.read(machine_id) is not None:
        raise Nonconforming("The scratch machine's standing is still there after it was removed.")
    left = [f"{leftover.kind} {leftover.name}" for leftover in site.leftovers.find(machine_id, ())]
    if left:
        raise Nonconforming(f"These are still there: {', '.join(left)}.")
