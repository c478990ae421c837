"""What is said of a point that cannot be read, and what still works beside it."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import WEB, Shell


def test_a_damaged_point_is_told_and_the_others_are_listed_by_number(planned: Shell, tmp_path: Path) -> None:
    for _ in range(3):
        planned.ok("sync", "web1")
    path = next(path for path in tmp_path.rglob(f"point-{WEB}-00000002") if path.is_file())
    path.chmod(0o600)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    told = f"The point {WEB}/00000002 cannot be read, and is passed over: "
    assert f"web1: {told}" in planned.ok("status").out
    assert [damaged["id"] for damaged in planned.ok("status", "--json").json["damaged_points"]] == [f"{WEB}/00000002"]
    listed = planned.ok("points", "list", "web1")
    assert told in listed.err
    assert "N-1" not in listed.out
    found = planned.ok("points", "list", "web1", "--json").json
    assert [point["sequence"] for point in found["points"]] == [1, 3]
    assert [damaged["id"] for damaged in found["damaged"]] == [f"{WEB}/00000002"]
    assert told in planned.ok("sync", "web1").out
    for name in ("N-2", "N-9", "9999d ago"):
        assert "cannot be counted" in planned("points", "show", f"web1:{name}").err, "it may be the damaged one"
    assert planned.ok("points", "show", "web1:N-1", "--json").json["sequence"] == 3, "damage before it does no harm"
    planned.ok("points", "show", "web1:3")
    assert planned("points", "prune", "web1", "--keep-last", "1", "--yes").code
    assert len(planned.ok("points", "list", "web1", "--json").json["points"]) == 3
