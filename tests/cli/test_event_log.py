"""The log of ``serve``: one line an event, as text or JSON, without secrets and control characters."""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import twinhull.manager.serve
from tests.cli.test_plain import HOSTILE, assert_harmless, foreign
from twinhull.cli.screen.event_log import EventLog
from twinhull.cli.screen.plain import plain
from twinhull.cli.screen.screen import Screen
from twinhull.manager.health.health import Health
from twinhull.manager.serve.events import EVENTS, severity
from twinhull.model import redaction
from twinhull.model.errors import SiteError
from twinhull.model.redaction import note_secret
from twinhull.platforms.simulated import SimulatedClock

ROOT = Path(__file__).parents[2]
SECRETS = ("correct horse battery", "wJalrXUtnFEMI/K7MDENG/bPxRfiCY", "AKIAIOSFODNN7EXAMPLE")


@pytest.fixture(autouse=True)
def known_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", set())
    for secret in SECRETS:
        note_secret(secret)


def logged(name: str, facts: dict[str, object], *, is_json: bool) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        EventLog(Screen(is_json=is_json), SimulatedClock()).event(name, facts)
    return out.getvalue()


FACTS: dict[str, object] = {
    "machine": "db",
    "plan": "shop",
    "run": "sync-1",
    "state": "done",
    "seconds": 1.5,
    "reason": "synced",
}


def test_an_event_is_one_json_object_with_what_programs_look_for() -> None:
    line = logged("done", FACTS, is_json=True)
    assert line.count("\n") == 1
    found = json.loads(line)
    assert list(found)[:4] == ["schema_version", "timestamp", "level", "event"]
    assert found == {
        "schema_version": 1,
        "timestamp": "2026-01-01T00:00:00+00:00",
        "level": "info",
        "event": "done",
        **FACTS,
    }


def test_an_event_is_one_line_for_people() -> None:
    assert logged("done", FACTS, is_json=False) == "2026-01-01 00:00:00 UTC  done       db: synced (sync-1)\n"


TEXTS = [
    *(f"it failed with {secret}" for secret in SECRETS),
    "cannot reach qemu+ssh://root:hunter2hunter2@alpha/system",
    "cannot reach https://hunter2hunter2@alpha/system",
    "refused: https://s3/x?X-Amz-Signature=hunter2hunter2",
    "postgresql: password=hunter2hunter2 host=db",
]
hidden = ("hunter2hunter2", *SECRETS)
leaky = st.one_of(foreign, st.sampled_from([*TEXTS, *SECRETS]))
facts = st.dictionaries(
    st.one_of(st.sampled_from(["machine", "site", "run", "command", "passphrase"]), leaky.filter(bool)),
    st.recursive(
        leaky, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(leaky, inner, max_size=3))
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(facts=facts, reason=leaky, is_json=st.booleans())
def test_no_event_shows_a_secret_or_commands_the_terminal(
    facts: dict[str, object], reason: str, *, is_json: bool
) -> None:
    line = logged("failed", {**facts, "reason": reason}, is_json=is_json)
    assert line.count("\n") == 1
    assert_harmless(line)
    told = str(json.loads(line)) if is_json else line
    for secret in hidden:
        assert secret not in line
        assert secret not in told


def test_foreign_text_is_shown_and_not_obeyed() -> None:
    assert plain(HOSTILE) in logged("failed", {"reason": HOSTILE}, is_json=False)
    assert json.loads(logged("failed", {"reason": HOSTILE}, is_json=True))["reason"] == HOSTILE


@pytest.mark.parametrize("is_json", [False, True])
def test_the_error_that_ends_it_has_no_secret_either(*, is_json: bool) -> None:
    out, err = io.StringIO(), io.StringIO()
    error = SiteError(TEXTS[0], hint=TEXTS[3])
    with redirect_stdout(out), redirect_stderr(err):
        EventLog(Screen(is_json=is_json), SimulatedClock()).end_by(error)
    shown = out.getvalue() + err.getvalue()
    assert not any(secret in shown for secret in hidden)
    assert "it failed with ***" in shown
    if is_json:
        assert json.loads(out.getvalue())["error"]["exit_code"] == error.exit_code


def words_reported() -> Iterator[str]:
    """Every event's name as the code of ``serve`` writes it."""
    for path in Path(*twinhull.manager.serve.__path__).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_tell = isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1].lstrip("_") == "tell"
            if is_tell and isinstance(node, ast.Call) and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)


def test_every_event_that_is_reported_has_a_severity_and_is_explained() -> None:
    assert set(words_reported()) <= set(EVENTS)
    page = (ROOT / "docs" / "operations.md").read_text()
    explained = {
        name for row in re.findall(r"^\| (`[^|]*`) \|", page, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    }
    assert explained >= set(EVENTS)


@pytest.mark.parametrize(
    ("event", "facts", "level"),
    [
        ("health", {"health": Health.RUNS_TWICE.value}, "error"),
        ("health", {"health": Health.UNKNOWN.value}, "warning"),
        ("health", {"health": Health.PROTECTED.value}, "info"),
        ("site", {"state": "reachable"}, "info"),
        ("site", {"state": "unreachable"}, "warning"),
        ("site", {}, "warning"),
        ("failed", {}, "error"),
    ],
)
def test_how_much_an_event_matters(event: str, facts: dict[str, Any], level: str) -> None:
    assert severity(event, facts).value == level
