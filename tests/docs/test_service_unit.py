"""The systemd unit calls ``serve`` as the command line understands it, and outlives what ``serve`` may need to end."""

from __future__ import annotations

import inspect
import shlex
from configparser import RawConfigParser
from pathlib import PurePosixPath

from tests.cli.parsing import parse
from tests.docs.documents import ROOT
from twinhull.cli.commands.serve import serve
from twinhull.manager.catalog.state import _ROOT_DIRECTORY, STATE_VARIABLE, default_directory
from twinhull.model.errors import AlreadyServing, StateTooNew, UsageError
from twinhull.model.units import parse_duration


def unit() -> RawConfigParser:
    parser = RawConfigParser(strict=True)
    # systemd tells upper from lower case.
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((ROOT / "packaging" / "twinhull.service").read_text())
    return parser


def test_it_calls_serve() -> None:
    program, *words = shlex.split(unit()["Service"]["ExecStart"])
    assert PurePosixPath(program).name == "twinhull"
    assert parse(shlex.join(["twinhull", *words])).name == "serve"


def test_it_keeps_its_state_where_root_s_commands_look() -> None:
    service = unit()["Service"]
    variable, _, path = service["Environment"].partition("=")
    assert variable == STATE_VARIABLE
    assert path == f"/var/lib/{service['StateDirectory']}"
    assert default_directory({variable: path}) == _ROOT_DIRECTORY


def test_stopping_waits_longer_than_serve_does() -> None:
    grace = parse_duration(inspect.signature(serve).parameters["grace"].default)
    assert float(unit()["Service"]["TimeoutStopSec"]) > grace + 30


def test_it_restarts_for_no_error_that_stays() -> None:
    stays = {UsageError.exit_code, StateTooNew.exit_code, AlreadyServing.exit_code}
    assert {int(code) for code in unit()["Service"]["RestartPreventExitStatus"].split()} == stays
