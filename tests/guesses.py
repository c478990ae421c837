"""What a guess at a passphrase costs in tests that are not about that: almost nothing, instead of half a second."""

from __future__ import annotations

from twinhull.repository import KdfCost

CHEAP = (1, 1, 8)
"""Iterations, lanes, KiB of memory: the least that Argon2id takes."""


def make_guesses_cheap() -> None:
    """New passphrases of this process cost next to nothing; for the processes that tests start."""
    KdfCost.__init__.__defaults__ = CHEAP
