"""Every command that a text of the product names is one that the product understands, options included.

The texts are the string constants and f-strings of the source, with a word in each placeholder. What stands in quotes,
or after a colon at the end of a text, is a whole command and must parse; in the middle of a sentence only its words and
options are looked at, for where it ends there only a reader can say.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from typer.main import get_command

from tests.cli.parsing import FILLING, commands_of, parse
from tests.texts import texts
from twinhull.cli.main import app

_QUOTED = re.compile(r"'(twinhull [^'\n]+)'")
_AT_THE_END = re.compile(r": (twinhull [^\n']+?)(?=\. |\.?$)", re.MULTILINE)
_EXAMPLE = re.compile(r"^ *(twinhull .+)$", re.MULTILINE)
_IN_A_SENTENCE = re.compile(r"\btwinhull ([a-z0-9][a-z0-9-]*)(?: ([a-z0-9][a-z0-9-]*))?")
_FOREIGN = {"--force", "--no-hostonly", "--regenerate-all", "--log", "--update-kernel", "--args", "--security-info"}
"""Options of dracut, grubby, xenconsoled and virsh, which a hint tells a guest's or a host's owner to use."""
_NO_COMMANDS = {"twinhull 1", "twinhull repository", "twinhull 1 salt 1"}
"""What ``twinhull --version`` prints, the first words of a repository's own file, and what keys are derived by."""
_OPTION = re.compile(r"(?<![\w'-])--[a-z][a-z-]+")


def whole_commands(text: str) -> set[str]:
    """The commands of a text that can be typed as they stand."""
    found = {command for pattern in (_QUOTED, _AT_THE_END) for command in pattern.findall(text)}
    return found or (set(_EXAMPLE.findall(text)) if text.lstrip().startswith("twinhull ") else set())


TEXTS = list(texts())
ALL = dict(commands_of(get_command(app)))
WHOLE = sorted({(text.place, command) for text in TEXTS for command in whole_commands(text.text) - _NO_COMMANDS})


def test_the_source_names_commands() -> None:
    assert len(WHOLE) > 100


@pytest.mark.parametrize(("place", "line"), WHOLE)
def test_a_command_that_can_be_typed_is_understood(place: str, line: str) -> None:
    assert place
    parse(line)


def test_a_command_in_a_sentence_exists() -> None:
    known = {FILLING, "command", *ALL}
    groups = {name for name, command in ALL.items() if name and hasattr(command, "commands")}
    unknown = [
        (text.place, first, second)
        for text in TEXTS
        for first, second in _IN_A_SENTENCE.findall(text.text)
        if first not in known or (first in groups and second and f"{first} {second}" not in known)
    ]
    assert not unknown


def test_an_option_in_a_sentence_is_one_of_ours() -> None:
    """A sentence begins with a capital or a quote, and has blanks; what is handed to other programs has not."""
    ours = {option for _, command in ALL.items() for part in command.params for option in options_of(part)}
    sentences = [text for text in TEXTS if re.match(r"['A-Z].*[a-z]{2} [a-z]", text.text) and "$" not in text.text]
    named = [(text.place, option) for text in sentences for option in _OPTION.findall(text.text)]
    assert len(named) > 20
    assert not [(place, option) for place, option in named if option not in {"--help", *ours, *_FOREIGN}]


def test_a_quoted_command_is_whole() -> None:
    """A command in quotes can be typed: it begins with ``twinhull``, also in a help text."""
    groups = {name for name, command in ALL.items() if name and " " not in name and hasattr(command, "commands")}
    short = [
        (text.place, words)
        for text in TEXTS
        for words in re.findall(r"'([a-z]+ [a-z][a-z -]+)'", text.text)
        if words.split()[0] in groups or (" --" in words and not words.startswith("twinhull "))
    ]
    assert not short


def options_of(parameter: Any) -> list[str]:  # noqa: ANN401 - click's own classes
    return [*parameter.opts, *parameter.secondary_opts]


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("Make one: twinhull plan create 1 --rpo 15m", {"twinhull plan create 1 --rpo 15m"}),
        ("See 'twinhull runs list', then repeat.", {"twinhull runs list"}),
        ("'twinhull status' shows where 1 runs.", {"twinhull status"}),
        ("Check twinhull status before you repeat it.", set()),
    ],
)
def test_commands_are_found_in_texts(text: str, commands: set[str]) -> None:
    assert whole_commands(text) == commands
