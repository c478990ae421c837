"""What befalls a repository, and what a user does about it."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Shell
from twinhull.model.machine import DiskKey
from twinhull.model.units import MIB


def _damage(shell: Shell) -> None:
    packs = sorted((shell.state.parent / "points" / "pack").glob("??/pack-*"))
    assert packs
    for pack in packs:
        pack.unlink()


def test_a_replica_and_a_source_heal_a_repository(planned: Shell) -> None:
    planned.ok("sync", "web1")
    planned.web.write("vda", MIB, b"written since")
    planned.ok("sync", "web1")
    _damage(planned)
    nothing = planned("repository", "repair", "--json")
    assert nothing.code == 34
    older, latest = nothing.json["lost"]
    healed = planned("repository", "repair", "--site", "here", "--site", "there", "--json")
    assert healed.code == 34, "nobody has any more what was overwritten"
    assert (healed.json["repaired"], healed.json["lost"]) == ([latest], [older])
    planned.ok("points", "verify", latest)
    planned.ok("sync", "web1")


def test_an_image_file_heals_a_repository(planned: Shell, tmp_path: Path) -> None:
    planned.ok("sync", "web1")
    image = tmp_path / "old.raw"
    image.write_bytes(planned.web.disks[DiskKey("vda")].read(0, 8 * MIB))
    _damage(planned)
    answer = planned.ok("repository", "repair", "--disk", f"web1:vda={image}")
    assert "1 points are whole again, 0 are damaged." in answer.out
    assert "old.raw" in answer.out
    planned.ok("repository", "verify")


def test_a_copy_heals_a_repository(planned: Shell, tmp_path: Path) -> None:
    planned.ok("sync", "shop")
    planned.ok("repository", "copy", "--to", str(tmp_path / "second"), "--create")
    _damage(planned)
    answer = planned.ok("repository", "repair", "--from", str(tmp_path / "second"), "--json").json
    assert len(answer["repaired"]) == 2
    assert answer["is_good"]


def test_a_copy_goes_its_own_way_with_points_and_takes_the_holds_over(planned: Shell, tmp_path: Path) -> None:
    second = str(tmp_path / "second")
    planned.ok("sync", "web1")
    planned.ok("points", "hold", "web1:N", "--reason", "before the upgrade")
    first = planned.ok("repository", "copy", "--to", second, "--create")
    assert "before the upgrade" in first.out
    assert "Copied 1 points" in first.out
    for _ in range(4):
        planned.ok("sync", "web1")
    planned.ok("repository", "copy", "--to", second)
    there = ("--repository", second)
    assert planned(*there, "points", "remove", "web1:1", "--yes").code == 20, "it is held there, too"
    removed = planned.ok(*there, "points", "prune", "web1", "--keep-last", "1", "--yes", "--json").json["removed"]
    assert len(removed) == 1
    again = planned.ok("repository", "copy", "--to", second, "--again", "--json").json["points"]
    assert not any(point["is_copied"] for point in again)


def test_a_damaged_point_that_is_not_copied_is_told_by_the_exit_code(planned: Shell, tmp_path: Path) -> None:
    planned.ok("sync", "web1")
    _damage(planned)
    told = planned("repository", "copy", "--to", str(tmp_path / "second"), "--create")
    assert told.code == 34
    assert "copy --again" in told.err
    assert "Copied 0 points" in told.out


def test_keys_are_rotated_and_everything_goes_on(planned: Shell, tmp_path: Path) -> None:
    planned.ok("sync", "web1")
    phrase = tmp_path / "new-phrase"
    phrase.write_text("battery staple\n")
    old, new = str(tmp_path / "phrase"), str(phrase)
    paper = planned.ok("repository", "keys", "recovery", "--json").json["recovery_key"]
    rotated = planned.ok("repository", "keys", "rotate", "--new-passphrase-file", new, "--yes", "--json").json
    assert rotated["key_number"] == 2
    planned.ok("sync", "web1")
    planned.ok("points", "verify", "web1:N-1")
    assert planned("--passphrase-file", old, "points", "list").code == 33
    (tmp_path / "paper").write_text(paper)
    assert planned("--passphrase-file", str(tmp_path / "paper"), "points", "list").code == 33
    planned.ok("repository", "keys", "change-passphrase", "--new-passphrase-file", old)
    assert len(planned.ok("points", "list", "--json").json["points"]) == 2
    assert planned("--passphrase-file", new, "points", "list").code == 33


def test_a_store_is_tried_out(shell: Shell, tmp_path: Path) -> None:
    checked = shell.ok("store", "check", str(tmp_path / "new"), "--json").json
    assert all(finding["holds"] for finding in checked["findings"])
    assert len(checked["findings"]) > 5
    (tmp_path / "blocked").write_text("no directory")
    broken = shell("store", "check", str(tmp_path / "blocked"))
    assert broken.code == 36
