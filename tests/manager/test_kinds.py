"""The records of the kinds of runs: complete, and the only place where kinds differ."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

import twinhull
from twinhull.actions.requests import Request
from twinhull.manager.catalog.records import RunRecord, RunState
from twinhull.manager.runs.desk import Desk
from twinhull.manager.runs.kinds.kind import Kind
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.model.errors import NotFound, UsageError
from twinhull.model.machine import MachineId, RunId
from twinhull.model.steps import Action
from twinhull.runs.subject import REPOSITORY, Subject, SubjectKind

SOURCE = Path(twinhull.__file__).parent
OWN_WORDS = {
    "manager/runs/kinds/": "the records themselves",
    "manager/serve/planner.py": "decisions have words of their own",
    "cli/lazy.py": "the names of the commands",
    "cli/commands/failover.py": "one function answers both of its commands",
}


def differing(tree: ast.AST, words: set[str]) -> Iterator[int]:
    """Lines that compare something with a kind's word, or list several of them."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=left, comparators=others):
                if any(isinstance(side, ast.Constant) and side.value in words for side in (left, *others)):
                    yield node.lineno
            case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items) | ast.Dict(keys=items):
                if sum(isinstance(item, ast.Constant) and item.value in words for item in items) > 1:
                    yield node.lineno


def test_nothing_but_the_records_treats_kinds_differently() -> None:
    words = set(KINDS.words)
    found = {
        f"{path.relative_to(SOURCE)}:{line}"
        for path in SOURCE.rglob("*.py")
        if not any(str(path.relative_to(SOURCE)).startswith(own) for own in OWN_WORDS)
        for line in differing(ast.parse(path.read_text()), words)
    }
    assert found == set()


@pytest.mark.parametrize(
    "text",
    ['run.kind == "sync"', 'kind in ("sync", "failover")', '{"sync": 1, "rollback": 2}', 'BRINGS = ["sync", "prune"]'],
)
def test_a_comparison_and_a_table_of_words_are_found(text: str) -> None:
    assert list(differing(ast.parse(text), set(KINDS.words)))


def test_each_kind_has_its_word_steps_request_and_subject() -> None:
    assert KINDS.words == [
        "sync",
        "failover",
        "failback",
        "rollback",
        "restore",
        "reconcile",
        "collect",
        "prune",
        "remove",
        "verify",
    ]
    for word in KINDS.words:
        kind = KINDS.named(word)
        assert kind.word == kind.action.kind == word
        assert kind.action.steps
        is_of_machine = "machine_id" in kind.request.__dataclass_fields__
        assert (kind.about is SubjectKind.MACHINE) == is_of_machine


def test_a_word_is_taken_once_and_an_unknown_one_says_what_there_is() -> None:
    with pytest.raises(ValueError, match="'sync' already"):
        KINDS.register(KINDS.named("sync"))
    with pytest.raises(NotFound) as error:
        KINDS.named("drill")
    assert "sync, failover" in error.value.hint


def test_a_run_of_a_kind_of_a_newer_version_holds_its_machine_and_claims_nothing() -> None:
    run = RunRecord(
        RunId("drill-1"), "drill", MachineId("a"), "web1", "test", {"run_id": "drill-1"}, RunState.RUNNING,
        datetime.now(UTC),
    )  # fmt: skip
    kind = KINDS.of(run)
    assert not kind.is_reading
    assert not kind.is_move
    assert not kind.is_protecting
    assert list(kind.sites(kind.request_of(run))) == []
    assert kind.headline(run, 2.0) == "drill done in 2.00 s."


@pytest.mark.parametrize(
    ("subject", "key"),
    [
        (Subject.machine(MachineId("1" * 8), "web1"), "1" * 8),
        (REPOSITORY, "repository"),
        (Subject.site("here"), "site:here"),
        (Subject(SubjectKind.POINT, "11111111-1111-4111-8111-111111111111/00000003", "web1:3"), None),
        (Subject(SubjectKind.PLAN, "shop", "shop"), "plan:shop"),
        (Subject(SubjectKind.HOST, "xen1", "xen1"), "host:xen1"),
    ],
)  # fmt: skip
def test_a_subject_is_one_word_in_a_record_and_is_read_again(subject: Subject, key: str | None) -> None:
    assert key in (None, subject.key)
    assert Subject.of_key(subject.key, subject.name) == subject


def test_a_kind_that_no_one_can_ask_for_by_name_says_so() -> None:
    kind = Kind(Action("quiet"), Request, SubjectKind.REPOSITORY)
    desk = cast("Desk", None)
    with pytest.raises(UsageError, match="cannot be started by name"):
        kind.ask(desk, REPOSITORY, {})
