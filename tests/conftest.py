"""How the tests share a machine of two cores: the two longest chains begin first, each in one of two workers.

One is all that needs an emulated Xen host, one after the other; the other one the tests on the other release of Debian.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from tests.guesses import CHEAP
from twinhull.repository import KdfCost
from twinhull.repository.store import reserve

if TYPE_CHECKING:
    from xdist.remote import Producer

XEN_TESTS = "tests/real/test_xen_"
LONGEST_FIRST = (XEN_TESTS, "tests/real/test_other_release", "tests/real/")

# A busy machine is no fault of what is tested: pytest's own timeout ends what hangs.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


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
    """The longest chains of tests begin first (so tests are to be run with ``--no-loadscope-reorder``).

    What waits for guests to boot comes next, and the many short files last: neither worker is idle at the end.
    """
    items.sort(key=lambda item: [not item.nodeid.startswith(prefix) for prefix in LONGEST_FIRST])


@pytest.fixture(autouse=True)
def small_reserves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand repositories and state directories of tests keep no room for themselves."""
    monkeypatch.setattr(reserve, "MAX_RESERVE_BYTES", reserve.LEAST_RESERVE_BYTES)


@pytest.fixture(autouse=True)
def cheap_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for Argon2id, but those that are about its cost."""
    monkeypatch.setattr(KdfCost.__init__, "__defaults__", CHEAP)
