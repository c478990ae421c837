"""How every benchmark of the project prints its figures."""

from __future__ import annotations

from dataclasses import dataclass

THOUSAND = 1000


@dataclass(frozen=True)
class Figure:
    """One measured figure. ``bar`` is what it may be at most; None where it is told without a bar."""

    name: str
    value: float
    unit: str
    bar: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it is within its bar."""
        return self.bar is None or self.value <= self.bar

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "falls short"
        bar = "no bar" if self.bar is None else f"at most {_number(self.bar)} {self.unit}"
        return f"{self.name:<56} {_number(self.value):>14} {self.unit:<8} {bar:<24} {verdict}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= THOUSAND or value == int(value) else f"{value:.3f}"


def show(figures: list[Figure]) -> int:
    """Print the figures; return the exit status: 1 if any falls short."""
    for figure in figures:
        print(figure, flush=True)
    return 0 if all(figure.holds for figure in figures) else 1
