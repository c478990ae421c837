"""A kind of run that is defined here and registered with one line: nothing else of Twinhull knows of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Thread

import pytest

from tests.cli.conftest import WEB, Shell
from tests.manager.test_dispatch import is_waited_for
from tests.manager.test_serve import Heard
from twinhull.actions.context import Context
from twinhull.actions.requests import MachineRequest
from twinhull.manager.catalog.state import StateDirectory
from twinhull.manager.manager import Manager
from twinhull.manager.runs.desk import Desk
from twinhull.manager.runs.kinds.kind import Kind, Words
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.manager.runs.outlook import Outlook
from twinhull.manager.runs.wants import Want
from twinhull.manager.serve.facts import Limits
from twinhull.manager.serve.serve import Server
from twinhull.model.errors import SiteError
from twinhull.model.machine import SiteName
from twinhull.model.steps import Action, Facts, Step
from twinhull.platforms.simulated import Killed
from twinhull.runs.codec import options
from twinhull.runs.subject import Subject, SubjectKind


@dataclass
class Bell:
    """What the runs of this kind work on, and what goes wrong in them."""

    rung: list[str] = field(default_factory=list)
    fault: str = ""


BELL = Bell()


@dataclass(frozen=True, slots=True)
class Loudness:
    """What a person may say."""

    times: int = 1


@dataclass(frozen=True, slots=True)
class RingRequest(MachineRequest):
    """Ring for a machine."""

    site: SiteName
    times: int


def _listen(_: Context, facts: Facts) -> Facts:
    BELL.rung.append(f"listen for {RingRequest.of(facts).site}")
    return {"echo_seconds": 2.0}


def _ring(context: Context, facts: Facts) -> Facts:
    BELL.rung += ["ring"] * RingRequest.of(facts).times
    if BELL.fault == "kill":
        raise Killed
    if BELL.fault == "fail":
        raise SiteError("The bell has cracked.", hint="Cast another one.")
    if BELL.fault == "ctrl-c":
        _interrupt(context)
    return {"rung_count": RingRequest.of(facts).times}


def _interrupt(context: Context) -> None:
    deadline = time.monotonic() + 20
    while not is_waited_for():
        assert time.monotonic() < deadline
    os.kill(os.getpid(), signal.SIGINT)
    while time.monotonic() < deadline:
        context.check()


def _hush(_: Context, __: Facts) -> None:
    BELL.rung.append("hush")


def _want(desk: Desk, subject: Subject, words: Words) -> Want:
    asked, plan = options(Loudness, words), desk.catalog.plan_of(subject.key)
    site = plan.source if plan else SiteName("nowhere")
    return Want(
        RING.word,
        subject,
        lambda run_id: RingRequest(run_id, subject.key, site, asked.times),
        lambda run: run.kind == RING.word,
    )


def _preview(look: Outlook, request: RingRequest) -> list[str]:
    return [f"Ring {request.times} times for {look.want.subject.name}, from {request.site}."]


RING = Kind(
    action=Action("ring", (Step("listen", _listen), Step("ring", _ring, _hush))),
    request=RingRequest,
    about=SubjectKind.MACHINE,
    want=_want,
    preview=_preview,
    is_asked_about=True,
    headline=lambda run, _: f"rung {run.result['rung_count']} times.",
    told={"rung_count": "strokes", "echo_seconds": "echo"},
)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    BELL.rung.clear()
    BELL.fault = ""
    KINDS.register(RING)
    yield
    KINDS.forget(RING.word)


def start(*more: str) -> list[str]:
    return ["runs", "start", "ring", "web1", *more]


def only_run(shell: Shell) -> str:
    (run,) = shell.ok("runs", "list", "--json").json["runs"]
    assert (run["kind"], run["subject"]) == ("ring", {"kind": "machine", "id": WEB, "name": "web1"})
    run_id: str = run["id"]
    return run_id


def test_it_is_previewed_run_listed_and_shown(planned: Shell) -> None:
    preview = planned.ok(*start("times=3", "--dry-run", "--json")).json["machines"][0]
    assert preview["would"] == ["Ring 3 times for web1, from here."]
    assert preview["request"] == {"machine_id": WEB, "site": "here", "times": 3}
    assert BELL.rung == []
    told = planned.ok(*start("times=3", "--yes")).out
    assert "web1: ring done in" in told
    assert "strokes  3" in told
    assert BELL.rung == ["listen for here", "ring", "ring", "ring"]
    run_id = only_run(planned)
    assert run_id in planned.ok("runs", "list", "web1").out
    shown = planned.ok("runs", "show", run_id)
    assert "ring of web1, done" in shown.out
    assert [line.split()[0] for line in shown.out.splitlines() if line.startswith(("listen", "ring "))] == [
        "listen",
        "ring",
    ]
    assert "strokes  3" in shown.out
    assert "echo     2.00 s" in shown.out


def test_a_person_is_asked_and_words_are_checked(planned: Shell) -> None:
    refused = planned(*start())
    assert refused.code == 5, refused
    assert "Start ring of web1" in refused.err
    assert BELL.rung == []
    for words, told in (
        (start("loud=yes", "--yes"), "There is no option 'loud'."),
        (start("times=often", "--yes"), "'times': input should be a valid integer"),
        (["runs", "start", "ring", "site:here", "--yes"], "'ring' is about a machine, and 'here' is a site."),
        (["runs", "start", "rang", "web1"], "There is no kind of run 'rang'."),
    ):
        answer = planned(*words)
        assert answer.code in (2, 3), answer
        assert told in answer.err
    assert "ring" in planned("runs", "start", "rang", "web1").err, "the hint names the kinds"


def test_it_fails_and_is_undone(planned: Shell) -> None:
    BELL.fault = "fail"
    answer = planned(*start("--yes"))
    assert answer.code == SiteError.exit_code
    assert "The bell has cracked." in answer.err
    assert BELL.rung == ["listen for here", "ring", "hush"]
    assert "ring of web1, failed" in planned.ok("runs", "show", only_run(planned)).out


def test_it_is_cancelled_by_ctrl_c(planned: Shell) -> None:
    BELL.fault = "ctrl-c"
    answer = planned(*start("--yes"))
    assert "is being undone" in answer.err
    assert BELL.rung[-1] == "hush"
    assert "ring of web1, cancelled" in planned.ok("runs", "show", only_run(planned)).out


def test_it_is_resumed_after_a_kill_by_the_command_line(planned: Shell) -> None:
    run_id = killed(planned)
    assert planned.ok("runs", "resume", run_id).code == 0
    assert BELL.rung == ["listen for here", "ring", "ring"], "what was done is not repeated"
    assert only_run(planned) == run_id
    assert "ring of web1, done" in planned.ok("runs", "show", run_id).out


def test_the_same_command_goes_on_with_it(planned: Shell) -> None:
    run_id = killed(planned)
    planned.ok(*start("--yes"))
    assert only_run(planned) == run_id


def test_serve_resumes_it_before_it_syncs_the_machine(planned: Shell) -> None:
    run_id = killed(planned)
    planned.ok("plan", "edit", "shop", "--remove", "db1")
    heard = Heard()
    with Manager(StateDirectory(planned.state), planned.ports, {}, origin="serve") as manager:
        server = Server(manager, Limits(), heard, cycle_seconds=0.02)
        thread = Thread(target=server.serve)
        thread.start()
        try:
            heard.wait_for(lambda: len(heard.words("done")) >= 2)
        finally:
            server.stop.set()
            thread.join(30)
    first, second = heard.words("done")[:2]
    assert (first["run"], first["reason"]) == (run_id, "rung 1 times.")
    assert "point 1" in str(second["reason"])


def killed(shell: Shell) -> str:
    BELL.fault = "kill"
    assert shell(*start("--yes")).code != 0
    BELL.fault = ""
    run_id = only_run(shell)
    assert "unfinished" in shell.ok("runs", "list", "--unfinished").out
    return run_id
