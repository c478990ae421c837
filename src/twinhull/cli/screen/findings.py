"""A machine's verdict, for people."""

from __future__ import annotations

from collections.abc import Iterator

from twinhull.manager.health.health import Level, Verdict


def verdict_lines(name: str, verdict: Verdict) -> Iterator[str]:
    """Every finding but that all is well, with the command that helps."""
    for number, finding in enumerate(verdict.findings):
        if number == 0 and verdict.level is Level.OK:
            continue
        yield finding.sentence if name in finding.sentence else f"{name}: {finding.sentence}"
        if finding.command:
            yield f"  {finding.command}"
