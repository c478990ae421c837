"""A store that keeps objects whatever is asked of it: nothing fails, nothing is lost, and it is said until when."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from urllib.request import Request, urlopen

import pytest  # noqa: TC002 - fixtures are annotated

from twinhull.repository import MemoryStore, open_store
from twinhull.repository.store.contract import NEVER

from .world import CHUNK, TurnedClock, capture, content_of, made, noise, opened, ports

ONE = noise("one", 20 * CHUNK)
TWO = noise("two", 20 * CHUNK)
LOCKED = b"""<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<ObjectLockEnabled>Enabled</ObjectLockEnabled>
<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule>
</ObjectLockConfiguration>"""


def test_what_is_locked_waits_and_goes_when_the_lock_is_over() -> None:
    clock, store = TurnedClock(), MemoryStore()
    repository = made(store, ports(clock))
    first, second = capture(repository, ONE), capture(repository, TWO)
    until = clock.now() + timedelta(days=30)
    before = {name for name in store.objects if name.startswith(("pack-", "point-"))}
    store.locks = dict.fromkeys(before, until)
    repository.remove_point(first.id)
    assert repository.locked_until(first.id) == until
    report = repository.collect(is_now=True)
    assert (report.points_gone, report.packs_deleted, report.locked_until) == ((), 0, until)
    assert "until 2026-12-21 12:00 UTC" in report.reasons[-1]
    assert before <= store.objects.keys()
    assert repository.restore_point(first.id) == first
    repository.remove_point(first.id)
    del store.locks[f"point-{first.id.replace('/', '-')}"]
    report = repository.collect(is_now=True)
    assert (report.points_gone, report.packs_deleted) == ((first.id,), 0)
    assert "keeps 2 objects" in report.reasons[-1]
    assert repository.verify(read_data=True).is_good
    store.locks = {}
    assert repository.collect(is_now=True).packs_deleted == 2
    assert content_of(opened(store), second) == TWO


def test_a_legal_hold_has_no_date() -> None:
    store = MemoryStore()
    repository = made(store)
    point = capture(repository, ONE)
    store.locks = dict.fromkeys(store.objects, NEVER)
    repository.remove_point(point.id)
    assert "legal hold" in repository.collect(is_now=True).reasons[-1]


def test_a_bucket_with_object_lock_tells_until_when(
    s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    bucket = f"{s3_endpoint}/locked"
    _put(Request(bucket, method="PUT", headers={"x-amz-bucket-object-lock-enabled": "true"}))  # noqa: S310 - our own
    _put(Request(f"{bucket}?object-lock", method="PUT", data=LOCKED))  # noqa: S310 - our own
    repository = made(open_store(f"s3://locked/{tmp_path.name}?endpoint={s3_endpoint}"))
    point = capture(repository, ONE)
    until = repository.locked_until(point.id)
    assert until
    repository.remove_point(point.id)
    report = repository.collect(is_now=True)
    assert (report.points_gone, report.locked_until) == ((), until)
    assert content_of(repository, repository.restore_point(point.id)) == ONE
    plain = open_store(f"s3://twinhull/{tmp_path.name}?endpoint={s3_endpoint}")
    plain.create("config", [b"x"])
    assert plain.locked_until("config") is None
    assert plain.locked_until("point-00") is None


def _put(request: Request) -> None:
    with urlopen(request, timeout=10) as answer:  # noqa: S310 - our own server
        assert answer.status == 200
