"""A state directory and a repository that commit 42be669 wrote are opened, upgraded and used.

``expected.json`` in the archive is what that commit printed of them; ``make_state.py`` made them.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Shell
from tests.upgrade.kept_world import world_from_json
from twinhull.model.machine import MachineId, PointId, Role
from twinhull.model.ports import Ports, SystemProcesses, SystemRandomness
from twinhull.platforms import simulated
from twinhull.platforms.simulated import SimulatedPlatform
from twinhull.repository import Repository, open_store

ARCHIVE = Path(__file__).parent / "42be669.tar.xz"
PASSPHRASE = "correct horse"  # noqa: S105 - of the archive's repository, which has no secrets
RUN_KEYS = ("run_id", "kind", "machine_id", "machine_name", "origin", "state", "started_at", "ended_at", "reasons")
STEP_KEYS = ("name", "is_undo", "state", "seconds", "attempt_count", "error")
ENDS = {"killed-undo": "failed"}
"""How a machine's unfinished run ends, if not well."""
RUNS_ON = {
    "stuck": ("there", 2),
    "killed-failover": ("there", 2),
    "killed-failback": ("here", 3),
    "killed-reconcile": ("there", 2),
    "killed-rollback": ("here", 1),
    "killed-undo": ("here", 2),
    "killed-sync": ("here", 1),
}
"""The one site on which a machine runs after its run was resumed, and its epoch there."""


@dataclass(frozen=True)
class Kept:
    """The unpacked archive, and the command line on it."""

    path: Path
    shell: Shell
    expected: dict[str, Any]

    def runs(self) -> dict[str, dict[str, Any]]:
        """All runs, by id."""
        return {run["run_id"]: run for run in self.shell.ok("runs", "list", "--last", "1000", "--json").json["runs"]}

    @contextmanager
    def repository(self) -> Iterator[Repository]:
        """The repository, opened without the manager."""
        with Repository.open(open_store(str(self.path / "points")), PASSPHRASE, ports=self.shell.ports) as repository:
            yield repository

    def unfinished(self) -> dict[str, dict[str, Any]]:
        """What 42be669 left to be resumed."""
        return {run["run_id"]: run for run in self.expected["runs"] if run["state"] in ("running", "stopped")}


@pytest.fixture
def kept(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Kept:
    subprocess.run(["tar", "--extract", "--file", ARCHIVE, "--directory", tmp_path], check=True)
    world = world_from_json(json.loads((tmp_path / "world.json").read_text()))
    monkeypatch.setattr(simulated, "PLATFORM", SimulatedPlatform(world))
    ports = Ports(world.ports.clock, SystemRandomness(), SystemProcesses())
    shell = Shell(tmp_path / "state", world, ports, capsys)
    # It lay somewhere else when it was made.
    shell.ok("repository", "use", str(tmp_path / "points"))
    return Kept(tmp_path, shell, json.loads((tmp_path / "expected.json").read_text()))


def part(document: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: document[key] for key in keys}


def test_sites_plans_and_points_are_what_they_were(kept: Kept) -> None:
    sites = kept.shell.ok("site", "list", "--json").json["sites"]
    before = kept.expected["sites"]["sites"]
    assert [(site["name"], site["platform"], site["uri"]) for site in sites] == [
        (site["name"], site["platform"], site["uri"]) for site in before
    ]
    assert kept.shell.ok("plan", "list", "--json").json["plans"] == kept.expected["plans"]["plans"]
    assert kept.shell.ok("points", "list", "--json").json["points"] == kept.expected["points"]
    removed = kept.shell.ok("points", "list", "--removed", "--json").json["removed"]
    assert {point["id"]: point["reason"] for point in removed} == kept.expected["removed"]


def test_every_run_is_listed_and_shown(kept: Kept) -> None:
    listed = kept.runs()
    assert list(listed) == [run["run_id"] for run in kept.expected["runs"]]
    for run in kept.expected["runs"]:
        shown = kept.shell.ok("runs", "show", run["run_id"], "--json").json
        assert part(shown, RUN_KEYS) == part(run, RUN_KEYS) == part(listed[run["run_id"]], RUN_KEYS)
        assert (shown["error"] or {}).get("message") == (run["error"] or {}).get("message")
        assert [part(step, STEP_KEYS) for step in shown["steps"]] == [part(step, STEP_KEYS) for step in run["steps"]]
        assert run["run_id"] in kept.shell.ok("runs", "show", run["run_id"]).out


def test_every_machine_stands_as_it_did(kept: Kept) -> None:
    keys = ("machine_name", "health", "runs_on", "is_running", "epoch", "lag_seconds")
    before = [part(machine, keys) for machine in kept.expected["status"]["machines"]]
    assert [part(machine, keys) for machine in kept.shell("status", "--json").json["machines"]] == before


def digests(repository: Repository, point_id: str) -> dict[str, str]:
    """The SHA-256 of each disk of a point."""
    disks = repository.point(PointId(point_id)).document.disks
    read = repository.reader().read
    return {disk.key: hashlib.sha256(read(disk.root, 0, disk.root.size_bytes)).hexdigest() for disk in disks}


def test_every_point_is_read_byte_for_byte(kept: Kept) -> None:
    assert len(kept.expected["contents"]) > 60
    with kept.repository() as repository:
        for point_id, contents in kept.expected["contents"].items():
            assert digests(repository, point_id) == contents, point_id


def test_a_point_is_restored_byte_for_byte(kept: Kept) -> None:
    point, restored = kept.shell.ok("points", "show", "db:N-1", "--json").json, kept.path / "restored.raw"
    for key, digest in kept.expected["contents"][point["id"]].items():
        kept.shell.ok("restore", "db:N-1", "--disk", key, "--to", str(restored), "--overwrite")
        assert hashlib.sha256(restored.read_bytes()).hexdigest() == digest


def test_every_unfinished_run_is_resumed(kept: Kept) -> None:
    left = kept.unfinished()
    assert {run["kind"] for run in left.values()} == {
        *("sync", "failover", "failback", "rollback", "restore", "reconcile"),
        *("collect", "verify", "prune", "remove"),
    }
    kept.shell("runs", "resume")
    after = kept.runs()
    assert not [run for run in after.values() if run["state"] in ("running", "stopped")]
    for run_id, before in left.items():
        assert after[run_id]["state"] == ENDS.get(before["machine_name"], "done"), after[run_id]
    replicas_are_at_their_points(kept)
    machines = {machine["machine_name"]: machine for machine in kept.shell("status", "--json").json["machines"]}
    for name, (site, epoch) in RUNS_ON.items():
        running = [side["site"] for side in machines[name]["sites"] if side["power"] == "running"]
        assert (name, running, machines[name]["epoch"]) == (name, [site], epoch)
    rolled_back, restored = (run_of(left, after, kind) for kind in ("rollback", "restore"))
    holds_point(kept, "here", rolled_back["machine_id"], rolled_back["request"]["to_point_id"])
    holds_point(kept, "there", restored["result"]["new_machine_id"], restored["request"]["point_id"])


def run_of(left: dict[str, Any], after: dict[str, Any], kind: str) -> dict[str, Any]:
    (run_id,) = [run_id for run_id, run in left.items() if run["kind"] == kind]
    found: dict[str, Any] = after[run_id]
    return found


def holds_point(kept: Kept, site: str, machine_id: str, point_id: str) -> None:
    machine = kept.shell.world.host(site).machines[MachineId(machine_id)]
    contents = {key: hashlib.sha256(machine.content(key)).hexdigest() for key in machine.disks}
    assert contents == kept.expected["contents"][point_id]


def replicas_are_at_their_points(kept: Kept) -> None:
    """Each replica holds, byte for byte, the point that its standing names."""
    sites = kept.shell.world.hosts.values()
    replicas = [(site, held) for site in sites for held in site.standings.values() if held.role is Role.REPLICA]
    assert len(replicas) > 8
    with kept.repository() as repository:
        for site, held in replicas:
            assert held.point_id
            assert not held.is_dirty
            machine = site.machines[held.machine_id]
            contents = {key: hashlib.sha256(machine.content(key)).hexdigest() for key in machine.disks}
            assert contents == digests(repository, held.point_id), machine.spec.name


def test_it_goes_on(kept: Kept) -> None:
    kept.shell("runs", "resume")
    before = {point["id"] for point in kept.expected["points"]}
    kept.shell.ok("sync", "shop")
    kept.shell.ok("sync", "rest")
    points = kept.shell.ok("points", "list", "--json").json["points"]
    fresh = [point["machine_name"] for point in points if point["id"] not in before]
    assert set(fresh) >= {machine["machine_name"] for machine in kept.expected["status"]["machines"]} - {"quiet"}
    replicas_are_at_their_points(kept)
    kept.shell.ok("repository", "verify", "--read-data")
    kept.shell.ok("points", "release", "db:2")
    kept.shell.ok("points", "prune", "db", "--keep-last", "2", "--yes")
    kept.shell.ok("repository", "collect")
    assert kept.shell("points", "list", "--json").code == 0
