"""The line of ``twinhull status --check``, as monitoring systems read it.

Source: Monitoring Plugins Development Guidelines, "Plugin Output for Nagios" and "Performance data". Text comes first,
then a bar, then figures as ``'label'=value[unit];warning;critical;minimum``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from twinhull.manager.health.health import Level

if TYPE_CHECKING:
    from twinhull.manager.health.status import MachineReport, Status

_FIGURES = "|"
"""Separates text and figures, so it is in neither."""


def check_line(found: Status) -> str:
    """The worst first: each machine that is not well with its sentence and command, then the figures."""
    ranked = sorted(found.reports, key=lambda report: Level.rank(report.verdict.level), reverse=True)
    sentences = [_sentence(report) for report in ranked if report.verdict.level is not Level.OK]
    well = len(found.reports) - len(sentences)
    total = f"{well} of {len(found.reports)} machines are protected" if found.reports else "no machine is in a plan"
    text = "; ".join([*sentences, total, *found.repository_alarms()])
    return f"{found.level.name} - {_without_bars(text)} {_FIGURES} {' '.join(_figures(found, well))}"


def _sentence(report: MachineReport) -> str:
    verdict = report.verdict
    command = f" [{verdict.command}]" if verdict.command else ""
    return f"{report.machine.name}: {verdict.health.value}: {' '.join(verdict.sentence.split())}{command}"


def _figures(found: Status, well: int) -> Iterator[str]:
    """How many machines are well, and the age of each replica that is known; critical is what the plan allows."""
    yield f"machines={len(found.reports)};;;0"
    yield f"protected={well};;;0"
    for report in found.reports:
        if report.lag_seconds is not None:
            label = _label(f"{report.machine.name} lag")
            yield f"{label}={report.lag_seconds:.0f}s;;{report.plan.rpo_seconds:.0f};0"


def _label(text: str) -> str:
    """A quoted label: it holds no equals sign, and a quote is written twice."""
    return "'" + _without_bars(text).replace("=", "_").replace("'", "''") + "'"


def _without_bars(text: str) -> str:
    return text.replace(_FIGURES, "/")
