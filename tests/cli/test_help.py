"""Help, completion, speed of start, and the table of exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from twinhull.cli.lazy import COMMANDS, load
from twinhull.manager.exit_codes import table

ROOT = Path(__file__).parents[2]
PYTHON = sys.executable


def _seconds(*words: str) -> float:
    """The shortest of some tries: what the machine needs when it is let."""
    tries = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([PYTHON, *words], check=True, capture_output=True, cwd=ROOT)
        tries.append(time.perf_counter() - began)
    return min(tries)


def test_help_comes_at_once() -> None:
    bare = _seconds("-c", "import typer")
    # Bare, the command line's library takes 0.07 s on two cores of 2026; three times that is far below 0.3 s.
    assert _seconds("-m", "twinhull.cli", "--help") < 3 * bare


def test_help_loads_no_command_and_no_engine() -> None:
    code = (
        "import sys; from twinhull.cli.main import call; call(['--help']);"
        "bad = [m for m in ('sqlalchemy', 'dbos', 'rich', 'pydantic', 'cryptography') if m in sys.modules];"
        "sys.exit(f'loaded: {bad}' if bad else 0)"
    )
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def _commands() -> list[tuple[str, ...]]:
    return [words for name in COMMANDS for words in _below((name,), load(name))]


def _below(words: tuple[str, ...], command: object) -> list[tuple[str, ...]]:
    """A command itself, or those of a group, and of the groups in it."""
    subs: dict[str, object] = getattr(command, "commands", {})
    return [found for name, sub in subs.items() for found in _below((*words, name), sub)] or [words]


@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_every_command_explains_itself_with_examples(
    shell: Shell, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = shell.ok(*words, "--help").out
    assert f"Usage: twinhull {' '.join(words)}" in text
    assert "Examples:" in text
    assert f"twinhull {' '.join(words)}" in text.split("Examples:")[1]
    assert "--json" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", [name for name in COMMANDS if hasattr(load(name), "commands")])
def test_a_group_alone_shows_its_commands(shell: Shell, name: str) -> None:
    text = shell.ok(name).out
    assert text == shell.ok(name, "--help").out
    assert all(sub in text for sub in load(name).commands)


def test_every_example_names_options_that_exist(shell: Shell) -> None:
    for words in _commands():
        text = shell.ok(*words, "--help").out
        body, examples = text.split("Examples:")
        known = {*re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", body), "--passphrase-file"}
        for option in re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", examples):
            assert option in known, f"{words}: {option}"


def _complete(shell: Shell, words: str) -> set[str]:
    environment = {
        **os.environ,
        "TWINHULL_STATE": str(shell.state),
        "_TWINHULL_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [PYTHON, "-m", "twinhull.cli"], env=environment, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_the_shell_completes_names(planned: Shell) -> None:
    planned.ok("sync", "web1")
    assert _complete(planned, "twinhull fail") == {"failover", "failback"}
    assert _complete(planned, "twinhull sync ") == {"db1", "shop", "web1"}
    assert _complete(planned, "twinhull site check h") == {"here"}
    assert _complete(planned, "twinhull plan show ") == {"shop"}
    assert _complete(planned, "twinhull points show web1:") == {"web1:N", "web1:N-1", "web1:N-2"}
    assert len(_complete(planned, "twinhull runs show sync-")) == 1


def test_completion_is_silent_where_nothing_is_known(shell: Shell) -> None:
    assert _complete(shell, "twinhull sync ") == set()


def test_the_table_of_exit_codes_is_the_error_tree() -> None:
    assert (ROOT / "docs" / "errors.md").read_text() == table(), (
        "run: python -m twinhull.manager.exit_codes > docs/errors.md"
    )


def test_the_version_is_told(shell: Shell) -> None:
    assert re.fullmatch(r"twinhull \d+\.\d+\.\d+\n", shell.ok("--version").out)
