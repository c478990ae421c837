"""The decision records: each number once, and every mention of one names a record that is there."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_RECORDS = sorted((_ROOT / "docs" / "adr").glob("*.md"))
_MENTION = re.compile(r"\bADR (\d+)")


def number_of(record: Path) -> int:
    return int(record.name.partition("-")[0])


def test_each_number_is_given_once_and_heads_its_record() -> None:
    numbers = Counter(number_of(record) for record in _RECORDS)
    assert sorted(numbers.elements()) == list(range(1, len(_RECORDS) + 1))
    for record in _RECORDS:
        assert record.read_text().startswith(f"# {number_of(record)}. ")


def test_every_mention_names_a_record() -> None:
    texts = [*(_ROOT / "src").rglob("*.py"), *(_ROOT / "docs").rglob("*.md"), *_ROOT.glob("*.md")]
    mentioned = {int(number) for text in texts for number in _MENTION.findall(text.read_text())}
    assert mentioned
    assert mentioned <= {number_of(record) for record in _RECORDS}
