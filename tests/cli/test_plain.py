"""No foreign text commands the terminal, whichever door it leaves by."""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import twinhull.cli
from tests.cli.conftest import WEB, Shell, spec
from twinhull.cli.screen import progress, screen
from twinhull.cli.screen.plain import plain
from twinhull.cli.screen.screen import SCHEMA_VERSION, Screen
from twinhull.model.errors import SiteError
from twinhull.model.progress import Progress

HOSTILE = "web\x1b]0;owned\x07\x1b[2J\x9b31m\x85\u202eeman\u2066\u200b\ud800\U000e0001\x7f\rgone\nError: forged"
_OURS = re.compile(r"\x1b\[(0|1|1;31)m")
"""The styles that the screen itself writes at a terminal."""

foreign = st.one_of(st.text(max_size=60), st.text(alphabet=list(HOSTILE), max_size=60))


def assert_harmless(shown: str) -> None:
    """Only printable characters, and line breaks: nothing that a terminal obeys."""
    obeyed = sorted({repr(c) for c in shown if not c.isprintable() and c != "\n"})
    assert not obeyed, (obeyed, shown)


class Terminal(io.StringIO):
    """A stream that is a terminal, and takes what a real one would."""

    def isatty(self) -> bool:
        return True


def printed(door: Callable[[], None], stream: io.StringIO) -> str:
    """What one call prints, on both streams."""
    with redirect_stdout(stream), redirect_stderr(stream):
        door()
    return stream.getvalue()


def doors(text: str) -> dict[str, Callable[[], None]]:
    """Every method of the screen that prints, with the text at every place."""
    return {
        "line": lambda: Screen().line(text),
        "heading": lambda: Screen().heading(text),
        "message": lambda: Screen().message(text),
        "facts": lambda: Screen().facts([(text, text), ("disks", [text, text])]),
        "table": lambda: Screen().table([text, "b"], [[text, "x"], ["y", text]], empty=text),
        "empty table": lambda: Screen().table(["a"], [], empty=text),
        "answer": lambda: Screen().answer({}, text, text),
        "error": lambda: Screen().error(SiteError(text, hint=text)),
        "crash": lambda: Screen().crash(ValueError(text)),
    }


@settings(max_examples=60, deadline=None)
@given(text=foreign)
def test_every_door_of_the_screen_shows_foreign_text_and_does_not_obey_it(text: str) -> None:
    for door in doors(text).values():
        assert_harmless(printed(door, io.StringIO()))
        assert_harmless(_OURS.sub("", printed(door, Terminal())))


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
@pytest.mark.parametrize("door", doors(""))
def test_every_door_shows_what_is_hostile_in_a_text(
    door: str, stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert plain(HOSTILE) in re.sub(r"[ \n]+", " ", printed(doors(HOSTILE)[door], stream())).replace("  ", " ")


@settings(max_examples=60, deadline=None)
@given(text=foreign, indent=st.sampled_from([None, 2]))
def test_json_carries_the_text_exactly_and_harmlessly(text: str, indent: int | None) -> None:
    shape = {"name": text, text: [text]}
    shown = printed(lambda: Screen(is_json=True, indent=indent).document(shape), io.StringIO())
    assert_harmless(shown)
    # A pair of surrogates and the character that they stand for are one text in JSON.
    assert json.loads(shown) == json.loads(json.dumps({"schema_version": SCHEMA_VERSION, **shape}))
    assert_harmless(printed(lambda: Screen(is_json=True).error(SiteError(text)), io.StringIO()))


def test_a_foreign_line_break_makes_no_line_of_its_own() -> None:
    assert len(printed(lambda: Screen().message(HOSTILE), io.StringIO()).splitlines()) == 1


def test_progress_shows_foreign_text_and_does_not_obey_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERM", "xterm")  # a dumb one shows no bars
    with redirect_stderr(stream), progress.watching(Screen()) as ears:
        ears.on_message(f"[red]{HOSTILE}")
        ears.on_step(HOSTILE)
        ears.on_progress(Progress("read", f"[bold]{HOSTILE}", 1, 2))
    shown = stream.getvalue()
    assert plain(f"[red]{HOSTILE}") in shown
    assert plain(f"read [bold]{HOSTILE}") in shown
    assert not {"\x07", "\x9b", "\x85", "\u202e", "\u2066"} & set(shown)


READING = [
    ["machine", "list"],
    ["machine", "show", str(WEB)],
    ["status"],
    ["runs", "list"],
    ["points", "list"],
    ["plan", "list"],
    ["plan", "show", "shop"],
    ["sync", str(WEB)],
    ["sync", str(WEB), "--dry-run"],
    ["failover", str(WEB), "--dry-run"],
    ["machine", "show", "no\x1b[2Jsuch"],
]


def test_a_hostile_machine_name_is_harmless_in_all_that_commands_print(two_sites: Shell) -> None:
    machine = two_sites.web
    machine.spec = replace(spec(WEB, "web\u202e\u2066\u200b\U000e0001owned"), disks=machine.spec.disks)
    two_sites.ok("plan", "create", "shop", "-m", str(WEB), "--from", "here", "--to", "there")
    two_sites.ok("sync", str(WEB))
    run = two_sites.ok("runs", "list", "--json").json["runs"][0]["id"]
    quoted = 0
    for words in [*READING, ["runs", "show", run], ["points", "show", f"{WEB}:N"]]:
        for call in (words, [*words, "--json"]):
            answer = two_sites(*call)
            assert_harmless(answer.out + answer.err)
            quoted += "owned" in answer.out
    assert quoted > len(READING), "the name was hardly shown: the test looks past it"


def test_only_the_screen_writes_to_the_terminal() -> None:
    """Beside it the progress bars, whose console is rich's; both make foreign text plain."""
    writers = {"print", "echo", "secho", "input", "Console", "stdout.write", "stderr.write"}
    found = set()
    for path in Path(*twinhull.cli.__path__).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                found |= {path.name for writer in writers if f".{called}".endswith(f".{writer}")}
    assert found <= {"screen.py", "progress.py"}
    assert screen.__file__.endswith("screen.py")
