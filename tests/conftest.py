"""How the tests share a machine of two cores: all that need an emulated Xen host run one after the other, and first."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.guesses import CHEAP
from twinhull.repository import KdfCost
from twinhull.repository.store import reserve

if TYPE_CHECKING:
    from xdist.remote import Producer

XEN_TESTS = "tests/real/test_xen_"


# A shell that starts the tests in the background has Ctrl-C ignored; whatever they start would ignore it, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


class OneXenHost(LoadFileScheduling):
    """A file's tests stay together, and so do the files that start a Xen host: two would be slower than one."""

    def _split_scope(self, nodeid: str) -> str:
        return XEN_TESTS if nodeid.startswith(XEN_TESTS) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneXenHost:
    """Xdist's hook: whatever ``--dist`` says, tests are dealt out so."""
    return OneXenHost(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest chain of tests begins first (so tests are to be run with ``--no-loadscope-reorder``)."""
    items.sort(key=lambda item: not item.nodeid.startswith(XEN_TESTS))


@pytest.fixture(autouse=True)
def small_reserves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand repositories and state directories of tests keep no room for themselves."""
    monkeypatch.setattr(reserve, "MAX_RESERVE_BYTES", reserve.LEAST_RESERVE_BYTES)


@pytest.fixture(autouse=True)
def cheap_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for Argon2id, but those that are about its cost."""
    monkeypatch.setattr(KdfCost.__init__, "__defaults__", CHEAP)
