"""The decision records: each number once, each in the list with its title, and every mention names one that exists."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / "docs" / "adr"
_RECORDS = sorted(_FOLDER.glob("[0-9]*.md"))
_MENTION = re.compile(r"\bADR (\d+)")
_ROW = re.compile(r"^\| \[(\d+)\]\(([^)]+)\) \| (.+) \| (in force.*|superseded by \[\d+\]\(.+\).*) \|$", re.MULTILINE)


def number_of(record: Path) -> int:
    return int(record.name.partition("-")[0])


def test_each_number_is_given_once_and_heads_its_record() -> None:
    numbers = Counter(number_of(record) for record in _RECORDS)
    assert set(numbers.values()) == {1}
    for record in _RECORDS:
        assert record.read_text().startswith(f"# {number_of(record)}. ")


def test_every_mention_names_a_record() -> None:
    texts = [*(_ROOT / "src").rglob("*.py"), *(_ROOT / "docs").rglob("*.md"), *_ROOT.glob("*.md")]
    mentioned = {int(number) for text in texts for number in _MENTION.findall(text.read_text())}
    assert mentioned
    assert mentioned <= {number_of(record) for record in _RECORDS}


@pytest.mark.parametrize("record", _RECORDS, ids=lambda record: record.name)
def test_the_list_has_each_record_with_its_title_and_status(record: Path) -> None:
    rows = {name: (int(number), title) for number, name, title, _ in _ROW.findall((_FOLDER / "README.md").read_text())}
    heading = record.read_text().split("\n", 1)[0].removeprefix("# ")
    number, title = rows[record.name]
    assert f"{number}. {title}" == heading


def test_the_list_has_nothing_else() -> None:
    rows = [line for line in (_FOLDER / "README.md").read_text().splitlines() if line.startswith("| [")]
    assert len(rows) == len(_RECORDS)
