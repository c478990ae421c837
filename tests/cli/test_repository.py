"""What befalls a repository, and what a user does about it."""

from __future__ import annotations

import json
import random
import re
import signal
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import WEB, Shell
from twinhull.model.machine import DiskKey
from twinhull.model.units import MIB
from twinhull.repository import KdfCost
from twinhull.repository.store.patient import PatientStore


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


@pytest.mark.parametrize("kind", [1, 2], ids=["data", "trees"])
def test_the_command_that_a_verification_hints_at_heals(planned: Shell, kind: int) -> None:
    """Damage, verify, do what the hint says: every point from then on is whole, and each older one of the same."""
    planned.ok("sync", "shop")
    for pack in (planned.state.parent / "points" / "pack").glob("??/pack-*"):
        if pack.read_bytes()[10] == kind:
            pack.chmod(0o600)
            pack.write_bytes(pack.read_bytes()[:60] + bytes(byte ^ 1 for byte in pack.read_bytes()[60:]))
    found = planned("repository", "verify", "--read-data")
    assert found.code == 34
    hinted = re.search(r"'twinhull (sync MACHINE[^']*)'", found.err)
    assert hinted, found.err
    for machine in ("web1", "db1"):
        planned.ok(*hinted[1].replace("MACHINE", machine).split())
        planned.ok("points", "verify", f"{machine}:N")
        planned.ok("points", "verify", f"{machine}:N-1")
        planned.ok("sync", machine)
        planned.ok("points", "verify", f"{machine}:N")
    assert planned("repository", "verify", "--read-data", "--json").json["lost_points"] == []
    planned.ok("repository", "repair")
    planned.ok("repository", "verify", "--read-data")


def test_a_verification_says_no_more_than_it_looked_at(planned: Shell) -> None:
    planned.ok("sync", "shop")
    looked = planned.ok("repository", "verify").out
    assert "2 points: nothing is missing. Data was not read;" in looked
    assert "written" not in looked
    hinted = re.search(r"twinhull (repository verify.*)", looked)
    assert hinted
    read = planned.ok(*hinted[1].split()).out
    assert re.search(r"2 points, .* read: all of it as it was written\.", read)


def test_an_image_file_heals_a_repository(planned: Shell, tmp_path: Path) -> None:
    planned.ok("sync", "web1")
    image = tmp_path / "old.raw"
    image.write_bytes(planned.web.disks[DiskKey("vda")].read(0, 8 * MIB))
    _damage(planned)
    answer = planned.ok("repository", "repair", "--disk", f"web1:vda={image}")
    assert "1 points are complete again, 0 are damaged." in answer.out
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
    assert "Copied 1 point" in first.out
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
    assert "add --again to send" in told.err
    assert "Copied 0 points" in told.out


def _files(path: Path) -> dict[Path, bytes]:
    return {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}


def test_a_dry_run_of_a_copy_says_what_would_be_sent_and_makes_nothing(planned: Shell, tmp_path: Path) -> None:
    second = tmp_path / "second"
    planned.ok("sync", "web1")
    foretold = planned.ok("repository", "copy", "--to", str(second), "--create", "--dry-run")
    assert "Would be copied: the target does not have it. It holds about 128.0 KiB of data." in foretold.out
    assert f"1 point would be copied to {second}; about 128.0 KiB would be read." in foretold.out
    assert not second.exists()
    planned.ok("repository", "copy", "--to", str(second), "--create")
    planned.web.write("vda", MIB, b"written since")
    planned.ok("sync", "web1")
    before = _files(second)
    first, newest = planned.ok("repository", "copy", "--to", str(second), "--dry-run", "--json").json["points"]
    assert (first["would_be_copied"], first["reason"]) == (False, "The target has it already.")
    assert (newest["would_be_copied"], newest["differing_bytes"]) == (True, 128 * 1024)
    assert _files(second) == before
    assert planned("repository", "copy", "--to", str(second), "--create", "--dry-run").code == 4


def test_a_copy_of_some_machines(planned: Shell, tmp_path: Path) -> None:
    second = str(tmp_path / "second")
    planned.ok("sync", "shop")
    copied = planned.ok("repository", "copy", "--to", second, "--create", "-m", "web1", "-m", WEB, "--json")
    assert [point["id"].partition("/")[0] for point in copied.json["points"]] == [WEB]
    assert planned("repository", "copy", "--to", str(tmp_path / "third"), "--create", "-m", "nobody").code == 3
    assert not (tmp_path / "third").exists()
    both = planned.ok("repository", "copy", "--to", second, "-m", "web1", "-m", "db1", "--json").json["points"]
    assert [point["is_copied"] for point in both] == [False, True]


def test_sentences_tell_what_a_copy_and_a_repair_are_at_where_no_terminal_is(planned: Shell, tmp_path: Path) -> None:
    second = str(tmp_path / "second")
    planned.ok("sync", "web1")
    copied = planned.ok("repository", "copy", "--to", second, "--create")
    assert copied.err == f"Copying {WEB}/00000001.\n"
    _damage(planned)
    told = planned.ok("repository", "repair", "--from", second).err.splitlines()
    assert told == [
        "Checking trees.",
        "Tracing lost chunks.",
        "Mending damaged packs.",
        f"Mending {WEB}/00000001.",
        "Reading packs again.",
        "Checking trees again.",
    ]
    assert planned.ok("repository", "copy", "--to", second, "--again", "--json").err == ""
    assert planned.ok("repository", "repair", "--json").err == ""


def test_ctrl_c_leaves_what_was_copied_and_the_next_copy_sends_the_rest(
    planned: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = str(tmp_path / "second")
    planned.ok("sync", "web1")
    planned.ok("sync", "web1")
    create = PatientStore.create

    def interrupted(store: PatientStore, name: str, parts: Sequence[bytes]) -> None:
        if name.startswith("point-") and name.endswith("2"):
            signal.raise_signal(signal.SIGINT)
        create(store, name, parts)

    with monkeypatch.context() as patch:
        patch.setattr(PatientStore, "create", interrupted)
        stopped = planned("repository", "copy", "--to", second, "--create")
    assert stopped.code == 130
    assert "Points that were copied stay; an unfinished one does not exist there." in stopped.err
    points = planned.ok("repository", "copy", "--to", second, "--json").json["points"]
    assert [point["is_copied"] for point in points] == [False, True]
    planned.ok("--repository", second, "repository", "verify", "--read-data")


def test_ctrl_c_leaves_what_was_repaired_and_the_next_repair_goes_on(
    planned: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = str(tmp_path / "second")
    planned.ok("sync", "web1")
    planned.ok("repository", "copy", "--to", second, "--create")
    _damage(planned)
    create = PatientStore.create

    def interrupted(store: PatientStore, name: str, parts: Sequence[bytes]) -> None:
        if name.startswith("index-"):
            signal.raise_signal(signal.SIGINT)
        create(store, name, parts)

    with monkeypatch.context() as patch:
        patch.setattr(PatientStore, "create", interrupted)
        stopped = planned("repository", "repair", "--from", second)
    assert stopped.code == 130
    assert "What was repaired stays, and no damaged pack was deleted." in stopped.err
    assert "0 are damaged" in planned.ok("repository", "repair", "--from", second).out
    planned.ok("points", "verify", "web1:N")


def test_a_dry_run_of_a_repair_says_what_is_missing_and_who_would_be_asked(planned: Shell, tmp_path: Path) -> None:
    points = tmp_path / "points"
    planned.ok("sync", "web1")
    _damage(planned)
    before = _files(points)
    found = planned("repository", "repair", "--dry-run", "--site", "there", "--site", "here")
    assert found.code == 34
    assert f"{WEB}/00000001 disk vda lacks 0 pieces of its data and 1 pieces of its tree" in found.out
    assert "a repair would look in the site 'there', then the site 'here'." in found.out
    assert "1 points are damaged. Nothing was written." in found.out
    nobody = planned("repository", "repair", "--dry-run", "--json")
    assert (nobody.code, nobody.json["is_good"], nobody.json["lost"]) == (34, False, [f"{WEB}/00000001"])
    assert [missing["would_look_in"] for missing in nobody.json["missing"]] == [[]]
    assert "The pack is missing." in nobody.json["problems"][0]
    assert _files(points) == before
    planned.ok("repository", "repair", "--site", "there")
    before = _files(points)
    assert "0 points are damaged." in planned.ok("repository", "repair", "--dry-run").out
    assert _files(points) == before, "what was read is not even noted"


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


def test_every_key_that_is_made_costs_a_guess_the_whole_price(
    planned: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KdfCost.__init__, "__defaults__", (2, 1, 16))
    made, phrase = tmp_path / "made", str(tmp_path / "phrase")
    planned.ok("--passphrase-file", phrase, "repository", "create", str(made))
    planned.ok("repository", "copy", "--to", str(tmp_path / "copy"), "--create")
    for words in (["recovery"], ["change-passphrase"], ["rotate", "--yes"], ["recovery"]):
        new = [] if words == ["recovery"] else ["--new-passphrase-file", phrase]
        planned.ok("repository", "keys", *words, *new)
        found = [json.loads(key.read_text().splitlines()[0]) for key in tmp_path.rglob("key-*") if key.is_file()]
        prices = {(key["iterations"], key["lanes"], key["memory_kib"]) for key in found}
        assert prices == {(2, 1, 16), (1, 1, 1024)}, "all but the one of the fixture's repository"


def test_a_passphrase_file_of_another_system_opens_and_a_new_one_must_be_long(planned: Shell, tmp_path: Path) -> None:
    phrase, other = tmp_path / "new-phrase", tmp_path / "other"
    phrase.write_bytes("Übergänge für Ångström\n".encode())
    planned.ok("repository", "keys", "change-passphrase", "--new-passphrase-file", str(phrase))
    decomposed = unicodedata.normalize("NFD", "Übergänge für Ångström")
    for text in (f"\ufeff{decomposed}\r\n", decomposed):
        other.write_bytes(text.encode())
        planned.ok("--passphrase-file", str(other), "points", "list")
    other.write_text("too short\n")
    for words in (
        ("repository", "keys", "change-passphrase", "--new-passphrase-file", str(other)),
        ("repository", "keys", "rotate", "--yes", "--new-passphrase-file", str(other)),
        ("--passphrase-file", str(other), "repository", "create", str(tmp_path / "more")),
        ("repository", "copy", "--to", str(tmp_path / "copy"), "--create", "--to-passphrase-file", str(other)),
    ):
        refused = planned(*words)
        assert (refused.code, "it needs at least 12" in refused.err) == (2, True), words
    assert not (tmp_path / "copy").exists()
    planned.ok("--passphrase-file", str(phrase), "points", "list")


def test_a_store_is_tried_out(shell: Shell, tmp_path: Path) -> None:
    checked = shell.ok("store", "check", str(tmp_path / "new"), "--json").json
    assert all(finding["holds"] for finding in checked["findings"])
    assert len(checked["findings"]) > 5
    (tmp_path / "blocked").write_text("no directory")
    broken = shell("store", "check", str(tmp_path / "blocked"))
    assert broken.code == 36


def test_chunk_size_and_level_are_chosen_where_a_repository_is_made(planned: Shell, tmp_path: Path) -> None:
    made = str(tmp_path / "small")
    refused = planned("repository", "create", made, "--chunk-kib", "100")
    assert refused.code == 2
    assert "power of two" in refused.err
    planned.ok("repository", "create", made, "--chunk-kib", "64", "--level", "19")
    shown = planned.ok("repository", "show", "--json").json
    assert (shown["chunk_size_bytes"], shown["compression_level"]) == (64 * 1024, 19)
    dice = random.Random(1)
    words = [bytes(dice.choices(b"abcdefghijkl", k=dice.randint(3, 9))) for _ in range(3000)]
    planned.web.write("vda", 0, b" ".join(dice.choices(words, k=100_000)))
    hard = planned.ok("sync", "web1", "--json").json["runs"][0]["result"]["stored_bytes"]
    planned.ok("repository", "create", str(tmp_path / "fast"), "--chunk-kib", "64")
    assert planned.ok("repository", "show", "--json").json["compression_level"] == 1
    fast = planned.ok("sync", "web1", "--json").json["runs"][0]["result"]["stored_bytes"]
    assert hard < fast
