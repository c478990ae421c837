"""Passphrases and recovery keys: the forms in which one may be typed, and what a guess at one costs.

Sources: Unicode Standard Annex #15 (normalization forms), RFC 9106 (Argon2, section 4).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from twinhull.model.errors import UsageError
from twinhull.model.ports import Randomness
from twinhull.model.units import GIB, KIB
from twinhull.repository.format.keyring import KEY_BYTES

MIN_PASSPHRASE_LENGTH = 12
"""The shortest passphrase that is taken for something new. Shorter ones that are in use go on to open."""
MAX_ITERATIONS = 64
MAX_LANES = 16
MAX_MEMORY_KIB = GIB // KIB
RECOVERY_KEY_LETTERS = 30
_RECOVERY_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""No letter that is taken for a digit when it is read off paper."""
_RECOVERY_KEY = re.compile(rf"([{_RECOVERY_ALPHABET}]{{5}}-){{5}}[{_RECOVERY_ALPHABET}]{{5}}")
_BYTE_ORDER_MARK = "\ufeff"
_LINE_ENDS = "\r\n"


@dataclass(frozen=True, slots=True)
class KdfCost:
    """What one guess at a passphrase costs (Argon2id)."""

    iterations: int = 3
    lanes: int = 4
    memory_kib: int = 128 * KIB

    def __post_init__(self) -> None:
        is_possible = 1 <= self.iterations <= MAX_ITERATIONS and 1 <= self.lanes <= MAX_LANES
        if not is_possible or not 8 * self.lanes <= self.memory_kib <= MAX_MEMORY_KIB:
            raise ValueError(f"the cost {self} is out of bounds")

    @property
    def work(self) -> int:
        """How much work it is, in KiB that are gone through."""
        return self.iterations * self.memory_kib


def new_form(passphrase: str) -> str:
    """The form that something new is wrapped by; raises UsageError if it is empty.

    Unicode's composed form (NFC, as RFC 8265 has it for passwords), without a byte order mark and the ends of lines.
    """
    form = _canonical(passphrase)
    if not form:
        raise UsageError("A repository needs a non-empty passphrase.")
    return form


def check_new_passphrase(passphrase: str) -> None:
    """Raise UsageError for a passphrase that nothing new should be protected by."""
    length = len(new_form(passphrase))
    if length < MIN_PASSPHRASE_LENGTH:
        raise UsageError(
            f"The new passphrase has {length} characters; it needs at least {MIN_PASSPHRASE_LENGTH}.",
            hint="Use several random words. 'twinhull repository create PATH --generate' generates one.",
        )


def forms(passphrase: str) -> Sequence[str]:
    """The forms in which the passphrase may once have been given, the likeliest first.

    Format 1.0 took what it was given: decomposed Unicode (from a file of macOS), a byte order mark, a line end.
    """
    form = _canonical(passphrase)
    if _RECOVERY_KEY.fullmatch(form):
        return (form,)
    older = (passphrase, unicodedata.normalize("NFD", form), f"{_BYTE_ORDER_MARK}{form}", f"{form}\r", f"{form}\n")
    return tuple(dict.fromkeys((form, *older)))


def stretch(form: str, salt: bytes, cost: KdfCost) -> bytes:
    """The 32 bytes that a form of a passphrase gives, at the price of the cost."""
    return Argon2id(
        salt=salt, length=KEY_BYTES, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib
    ).derive(form.encode(errors="surrogateescape"))


def new_recovery_key(randomness: Randomness) -> str:
    """A passphrase for printing, which no one has to think up: 30 letters and digits in groups, 150 random bits."""
    number = int.from_bytes(randomness.token(32), "big")
    letters = []
    for _ in range(RECOVERY_KEY_LETTERS):
        number, rest = divmod(number, len(_RECOVERY_ALPHABET))
        letters.append(_RECOVERY_ALPHABET[rest])
    return "-".join("".join(letters[at : at + 5]) for at in range(0, RECOVERY_KEY_LETTERS, 5))


def _canonical(passphrase: str) -> str:
    text = passphrase.strip().upper()
    if _RECOVERY_KEY.fullmatch(text):
        return text  # read off paper: neither case nor a space at the end makes a difference
    return unicodedata.normalize("NFC", passphrase.removeprefix(_BYTE_ORDER_MARK).rstrip(_LINE_ENDS))
