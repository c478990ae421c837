"""The guard's script as a shell runs it, without a libvirt."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from xml.sax.saxutils import quoteattr

import pytest

from twinhull.hosts.host import LocalHost
from twinhull.model.errors import MachineBusy, SiteError, UsageError
from twinhull.model.machine import MachineId, Role, Standing
from twinhull.model.ports import system_ports
from twinhull.platforms.guard import guard
from twinhull.platforms.guard.guard import script
from twinhull.platforms.guard.standings import StandingFiles
from twinhull.platforms.libvirt.connection import LibvirtConnection
from twinhull.platforms.libvirt.holding import AWAIT_SECONDS, await_start, holding
from twinhull.platforms.libvirt.place import Place

UUID = "11111111-2222-3333-4444-55555555aaaa"
QEMU = f"<domain type='qemu'>\n<name>web</name>\n<uuid>{UUID.upper()}</uuid>\n<os><type>hvm</type></os></domain>"

OTHER_UUID = UUID.replace("1", "2")
OTHER = QEMU.replace(UUID.upper(), UUID.replace("1", "2"))
"""A machine that has nothing to do with us."""


def _ask(directory: Path, definition: str = QEMU, *words: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
    """Ask the guard of a host on which the list of protected machines is there (``_protect``)."""
    hook, protected = directory.parent / f"{directory.name}-guard", _protected(directory)
    protected.mkdir(exist_ok=True)
    hook.write_bytes(script(str(directory), str(protected)))
    arguments = words or ("web", "prepare", "begin", "-")
    done = subprocess.run(["sh", str(hook), *arguments], input=definition, capture_output=True, text=True, check=False)
    assert done.returncode == expected, done.stderr
    return done


def _protected(directory: Path) -> Path:
    """Beside the guard, on the file system of the host's configuration."""
    return directory.parent / f"{directory.name}-protected"


def _protect(directory: Path) -> None:
    _protected(directory).mkdir(exist_ok=True)
    (_protected(directory) / UUID).touch()


def _stand(directory: Path, text: str) -> None:
    (directory / "standings").mkdir(exist_ok=True)
    (directory / "standings" / f"{UUID}.json").write_text(text)


def _held(role: str, *, is_dirty: object = False, **more: object) -> str:
    return json.dumps({"machine_id": UUID, "epoch": 3, "role": role, "is_dirty": is_dirty, **more})


def test_a_machine_without_a_standing_starts_freely(tmp_path: Path) -> None:
    _ask(tmp_path)


def test_a_clean_primary_starts(tmp_path: Path) -> None:
    _stand(tmp_path, _held("primary"))
    _ask(tmp_path)


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        (
            _held("replica", elsewhere="beta"),
            "web must not start here: this host holds its replica (epoch 3), it runs on beta. To move it here: twin",
        ),
        (_held("fenced"), "this host lost it to the other side (epoch 3). To move it here: twinhull failback web"),
        (_held("primary", is_dirty=True), "its disks are between two restore points (epoch 3)"),
        (_held("primary", is_dirty="no"), "is damaged"),
        (_held("primary", machine_id=UUID.replace("1", "2")), "is damaged"),
        (_held("unheard-of"), "is damaged"),
        ('["role", "primary"]', "is damaged"),
        ("[" * 100_000, "is damaged"),
        ('{"epoch": 3, "is_dirty": false, "role": "primary"', "is damaged"),
        ("", "is damaged"),
        ("\0" * 100, "is damaged"),
    ],
)
def test_everything_else_does_not_and_says_so(tmp_path: Path, standing: str, reason: str) -> None:
    _stand(tmp_path, standing)
    assert reason in _ask(tmp_path, expected=1).stderr


def _gone(directory: Path) -> None:
    shutil.rmtree(directory)


def _empty(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.mkdir()


def _without_standings(directory: Path) -> None:
    shutil.rmtree(directory / "standings")


def _without_the_standing(directory: Path) -> None:
    (directory / "standings" / f"{UUID}.json").unlink()


def _no_file(directory: Path) -> None:
    _without_the_standing(directory)
    (directory / "standings" / f"{UUID}.json").mkdir()


def _a_link(directory: Path) -> None:
    path = directory / "standings" / f"{UUID}.json"
    path.rename(directory / "elsewhere")
    path.symlink_to(directory / "elsewhere")


def _a_pipe(directory: Path) -> None:
    _without_the_standing(directory)
    os.mkfifo(directory / "standings" / f"{UUID}.json")


def _a_file_as_directory(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.touch()


@pytest.mark.parametrize(
    "lose",
    [
        _gone,
        _empty,
        _without_standings,
        _without_the_standing,
        _no_file,
        _a_link,
        _a_pipe,
        _a_file_as_directory,
    ],
)
def test_a_protected_machine_does_not_start_where_its_standing_is_out_of_reach(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    """Also a primary: by a standing that cannot be read nobody knows that it is one. Other machines start."""
    directory = tmp_path / "var"
    directory.mkdir()
    _stand(directory, _held("primary"))
    _protect(directory)
    _ask(directory)
    lose(directory)
    assert "Twinhull: web must not start here: " in _ask(directory, expected=1).stderr
    _ask(directory, OTHER)


def test_a_listed_machine_without_a_standing_is_told_by_which_file(tmp_path: Path) -> None:
    _protect(tmp_path)
    assert f"{_protected(tmp_path) / UUID} says that" in _ask(tmp_path, expected=1).stderr


def _mount(directory: Path, *options: str) -> None:
    subprocess.run(["mount", *options, "tmpfs", str(directory)], check=True)


def _read_only(directory: Path) -> None:
    _mount(directory, "-o", "remount,ro")


def _full(directory: Path) -> None:
    """Without a free block or inode."""
    file = (directory / "something else").open("wb", buffering=0)
    _until_full(lambda _: file.write(b"x" * 4096))
    file.close()
    _until_full(lambda number: (directory / str(number)).touch())


def _until_full(write: Callable[[int], object]) -> None:
    for number in range(1000):
        try:
            write(number)
        except OSError:
            return
    pytest.fail("the file system never filled up")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own for the standings."""
    directory = tmp_path / "var"
    directory.mkdir()
    _mount(directory, "-t", "tmpfs", "-o", "size=64k,nr_inodes=20")
    (directory / "run").mkdir()
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.mark.parametrize("spoil", [_read_only, _full])
def test_a_file_system_that_takes_nothing_keeps_no_machine_from_starting(
    disk: Path, spoil: Callable[[Path], None]
) -> None:
    """Nothing can lock the disks there either."""
    _stand(disk, _held("primary"))
    _protect(disk)
    spoil(disk)
    for definition in (QEMU, OTHER, _on_xen(), _on_xen().replace(UUID.upper(), UUID.replace("1", "2"))):
        _ask(disk, definition)


@pytest.mark.parametrize("spoil", [_read_only, _full])
def test_a_fence_counts_on_a_file_system_that_takes_nothing(disk: Path, spoil: Callable[[Path], None]) -> None:
    _stand(disk, _held("fenced"))
    _protect(disk)
    spoil(disk)
    for definition in (QEMU, _on_xen()):
        assert "lost it to the other side" in _ask(disk, definition, expected=1).stderr


def test_a_lock_that_is_held_counts_on_a_file_system_that_was_made_read_only(disk: Path) -> None:
    lock = disk / "run" / f"{UUID}.disks"
    lock.touch()
    _read_only(disk)
    with subprocess.Popen(
        ["flock", "-s", str(lock), "sh", "-c", "echo held; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert "are being copied" in _ask(disk, expected=1).stderr
        holder.communicate()
    _ask(disk)


@pytest.mark.parametrize("kind", ["qemu", "xen"])
def test_a_lock_that_cannot_be_opened_keeps_only_protected_machines_from_starting(tmp_path: Path, kind: str) -> None:
    """As on a file system with errors of its own."""
    (tmp_path / "run").touch()
    _stand(tmp_path, _held("primary"))
    _protect(tmp_path)
    refused = _ask(tmp_path, QEMU.replace("'qemu'", f"'{kind}'"), expected=1).stderr
    assert f"its disks cannot be locked: {tmp_path}/run/{UUID}.disks: Not a directory" in refused
    _ask(tmp_path, OTHER.replace("'qemu'", f"'{kind}'"))


def test_a_guard_whose_list_is_lost_starts_no_machine_that_it_knows_nothing_of(tmp_path: Path) -> None:
    directory = tmp_path / "var"
    directory.mkdir()
    protected = tmp_path / "lost"
    hook = tmp_path / "guard"
    hook.write_bytes(script(str(directory), str(protected)))
    words = ["sh", str(hook), "web", "prepare", "begin", "-"]
    done = subprocess.run(words, input=QEMU, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "twinhull site check SITE" in done.stderr
    _stand(directory, _held("primary"))
    assert subprocess.run(words, input=QEMU, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("listed", "definition", "status"),
    [
        ([UUID], QEMU, 1),
        ([UUID], QEMU.replace(UUID.upper(), UUID), 1),
        ([OTHER_UUID, UUID], QEMU, 1),
        ([], QEMU, 0),
        ([OTHER_UUID], QEMU, 0),
        ([OTHER_UUID], "", 1),
        (None, QEMU, 1),
    ],
    ids=["listed", "in lower case", "one of two", "none listed", "another's", "no definition", "no list"],
)
def test_without_python_no_protected_machine_starts_and_the_reason_is_plain(
    tmp_path: Path, listed: list[str] | None, definition: str, status: int
) -> None:
    """The guard was put there while the host had python3, and it is gone. Machines of others go on to start."""
    hook, protected = tmp_path / "guard", tmp_path / "list"
    hook.write_bytes(script(str(tmp_path), str(protected)))
    if listed is not None:
        protected.mkdir()
        for each in listed:
            (protected / each).touch()
    for words, expected in ((("prepare", "begin"), status), (("stopped", "end"), 0)):
        done = subprocess.run(
            ["/bin/sh", str(hook), "web", *words, "-"],
            input=definition,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": str(tmp_path)},
        )
        assert done.returncode == expected, done.stderr
        assert ("Twinhull's guard needs python3" in done.stderr) == (expected == 1)


def test_only_the_power_switch_is_guarded(tmp_path: Path) -> None:
    _stand(tmp_path, _held("replica"))
    _ask(tmp_path, QEMU, "web", "stopped", "end", "-")
    _ask(tmp_path, QEMU, "web", "release", "end", "-")


@pytest.mark.parametrize(
    "definition",
    [
        "<domain/>",
        "",
        "<domain",
        f"<domain><metadata><uuid>{UUID}</uuid></metadata></domain>",
        f"<domain><!-- <uuid>{UUID}</uuid> --></domain>",
        f"<domain xmlns='http://example.org/'><uuid>{UUID}</uuid></domain>",
        "<domain><uuid>../../etc/passwd</uuid></domain>",
    ],
)
def test_a_definition_without_a_uuid_is_not_started(tmp_path: Path, definition: str) -> None:
    assert "its definition cannot be understood" in _ask(tmp_path, definition, expected=1).stderr
    _ask(tmp_path, definition, "web", "stopped", "end", "-")


@pytest.mark.parametrize("foreign", ["<metadata><uuid>{}</uuid></metadata>", "<!--<uuid>{}</uuid>-->"])
def test_only_the_machine_s_own_uuid_counts(tmp_path: Path, foreign: str) -> None:
    """A foreign one, before or in a comment, is not taken for it."""
    _stand(tmp_path, _held("replica"))
    others = UUID.replace("1", "2")
    _ask(tmp_path, QEMU.replace("<name>", f"{foreign.format(others)}<name>"), expected=1)
    _ask(tmp_path, QEMU.replace(UUID.upper(), others).replace("<name>", f"{foreign.format(UUID)}<name>"))


def test_a_machine_whose_disks_are_open_is_not_started(tmp_path: Path) -> None:
    lock = tmp_path / "run" / f"{UUID}.disks"
    lock.parent.mkdir()
    with subprocess.Popen(
        ["flock", "-s", str(lock), "sh", "-c", "echo held; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert "are being copied" in _ask(tmp_path, expected=1).stderr
        holder.communicate()
    _ask(tmp_path)


def test_a_look_at_the_lock_of_its_disks_keeps_no_machine_from_starting(tmp_path: Path) -> None:
    lock = tmp_path / "run" / f"{UUID}.disks"
    lock.parent.mkdir()
    with subprocess.Popen(["flock", str(lock), "sh", "-c", "echo held; sleep 0.5"], stdout=subprocess.PIPE) as looker:
        assert looker.stdout is not None
        assert looker.stdout.readline() == b"held\n"
        _ask(tmp_path)


def _tracked(path: Path) -> Path:
    """An image with a bitmap of ours and one of somebody else's."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1M"], check=True)
    for bitmap in ("twinhull-a-1", "theirs"):
        subprocess.run(["qemu-img", "bitmap", "--add", "-f", "qcow2", str(path), bitmap], check=True)
    return path


def _bitmaps(image: Path) -> set[str]:
    command = ["qemu-img", "info", "-f", "qcow2", "--", str(image)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {name for name in ("twinhull-a-1", "theirs") if f"name: {name}" in told}


def _on_xen(*sources: str, format_: str = "qcow2") -> str:
    """A fully virtualized machine with these sources of disks, as libvirt writes it."""
    disks = "".join(
        f"<disk type='file' device='disk'>\n<driver name='qemu' type='{format_}'/>\n<source {source}/>\n"
        "<target dev='sda' bus='scsi'/>\n</disk>\n"
        for source in sources
    )
    nic = "<interface type='direct'>\n<source dev='eth0' mode='bridge'/>\n</interface>\n"
    return QEMU.replace("qemu", "xen").replace("</domain>", f"<devices>\n{disks}{nic}</devices></domain>")


def test_our_bitmaps_are_taken_out_of_an_hvm_machines_image_on_xen_and_no_others(tmp_path: Path) -> None:
    image = _tracked(tmp_path / "vda.qcow2")
    machine = _on_xen(f"file='{image}'")
    _ask(tmp_path, machine.replace("'xen'", "'qemu'"))
    _ask(tmp_path, machine.replace(">hvm<", ">linux<"))
    assert _bitmaps(image) == {"twinhull-a-1", "theirs"}
    _stand(tmp_path, _held("replica"))
    _ask(tmp_path, machine, expected=1)
    assert _bitmaps(image) == {"twinhull-a-1", "theirs"}, "what is not started keeps its trackers"
    (tmp_path / "standings" / f"{UUID}.json").unlink()
    _ask(tmp_path, machine)
    assert _bitmaps(image) == {"theirs"}


def _on_qemu(image: Path) -> str:
    disk = f"<disk device='disk'><driver type='qcow2'/><source file='{image}'/><target dev='vda'/></disk>"
    return QEMU.replace("</domain>", f"<devices>{disk}</devices></domain>")


@pytest.mark.parametrize("operation", [("prepare", "begin"), ("release", "end")])
def test_our_bitmaps_go_from_an_image_with_snapshots_so_that_its_owner_can_revert_it(
    tmp_path: Path, operation: tuple[str, str]
) -> None:
    """QEMU reverts no image that holds bitmaps; libvirt has ended the machine's QEMU by then, and leaves it off."""
    image = _tracked(tmp_path / "vda.qcow2")
    subprocess.run(["qemu-img", "bitmap", "--remove", str(image), "theirs"], check=True)
    _ask(tmp_path, _on_qemu(image), "web", *operation, "-")
    assert _bitmaps(image) == {"twinhull-a-1"}, "an image without snapshots keeps its trackers"
    subprocess.run(["qemu-img", "snapshot", "-c", "before", str(image)], check=True)
    revert = ["qemu-img", "snapshot", "-a", "before", str(image)]
    assert subprocess.run(revert, check=False, capture_output=True).returncode != 0
    _ask(tmp_path, _on_qemu(image), "web", *operation, "-")
    assert _bitmaps(image) == set()
    subprocess.run(revert, check=True)


def test_an_image_that_cannot_be_cleared_for_a_revert_keeps_no_machine_from_starting(tmp_path: Path) -> None:
    image = tmp_path / "vda.qcow2"
    image.write_bytes(b"QFI\xfb and nothing that can be understood")
    _ask(tmp_path, _on_qemu(image))


def test_images_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    """As a file or as a device, in either quotes, with what XML escapes in their names."""
    names = ["plain.img", "a b&c's", '<"x">.qcow2', "&amp;lt;", "as-a-device", "-f"]
    images = [_tracked(tmp_path / name) for name in names]
    sources = [f"file={quoteattr(str(image), {chr(39): '&apos;'})}" for image in images[:4]]
    sources += [f"dev='{images[4]}' index='1'", f"startupPolicy='optional' file=\"{images[5]}\""]
    _ask(tmp_path, _on_xen(*sources))
    assert [_bitmaps(image) for image in images] == [{"theirs"}] * len(images)


def test_what_is_no_image_is_not_opened(tmp_path: Path) -> None:
    empty, raw = tmp_path / "empty", _tracked(tmp_path / "raw")
    empty.touch()
    _ask(tmp_path, _on_xen(f"file='{empty}'", f"file='{tmp_path}/gone'", "dev='a-resource-of-drbd'"))
    _ask(tmp_path, _on_xen(f"file='{raw}'", format_="raw"))
    assert _bitmaps(raw) == {"twinhull-a-1", "theirs"}, "what a guest writes to a raw disk is never opened as an image"


def test_a_machine_is_not_started_where_its_image_cannot_be_looked_into(tmp_path: Path) -> None:
    damaged = _tracked(tmp_path / "damaged.qcow2")
    with damaged.open("r+b") as image:
        image.seek(4)
        image.write(b"\xff" * 64)
    said = _ask(tmp_path, _on_xen(f"file='{damaged}'"), expected=1).stderr
    assert f"a change tracker could not be taken out of its image '{damaged}'" in said


def test_images_of_other_machines_are_left_alone(tmp_path: Path) -> None:
    """Only disks of the machine itself that it writes to: what is foreign, or shared as read-only, is not opened."""
    mine, others = _tracked(tmp_path / "mine.qcow2"), _tracked(tmp_path / "others.qcow2")
    disk = f"<disk><driver type='qcow2'/><source file='{others}'/></disk>"
    machine = _on_xen(f"file='{mine}'")
    for hostile in (
        machine.replace("<name>", f"<metadata><app xmlns='http://example.org/'>{disk}</app></metadata><name>"),
        machine.replace("<name>", f"<metadata><devices>{disk}</devices></metadata><name>"),
        machine.replace("<name>", f"<!--<devices>{disk}</devices>--><name>"),
        machine.replace("<name>", f"<title><![CDATA[<devices>{disk}</devices>]]></title><name>"),
        machine.replace("</disk>", f"</disk><x>{disk}</x>", 1),
        machine.replace("<source", f"<readonly/><!--{disk}--><source").replace(str(mine), str(others)),
        machine.replace("device='disk'", "device='cdrom'").replace(str(mine), str(others)),
    ):
        _ask(tmp_path, hostile)
        assert _bitmaps(others) == {"twinhull-a-1", "theirs"}, hostile
    assert _bitmaps(mine) == {"theirs"}


def _mark(directory: Path) -> Path:
    return directory / "run" / f"{UUID}.starting"


@pytest.mark.parametrize("end", [("started", "begin"), ("reconnect", "begin"), ("stopped", "end"), ("release", "end")])
def test_a_machine_on_xen_is_marked_until_libvirt_knows_how_its_start_went(
    tmp_path: Path, end: tuple[str, str]
) -> None:
    (tmp_path / "run").mkdir()
    machine = _on_xen()
    _ask(tmp_path, machine)
    _ask(tmp_path, machine, "web", "start", "begin", "-")
    boot, _ = _mark(tmp_path).read_text().split()
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    _ask(tmp_path, machine, "web", *end, "-")
    assert not _mark(tmp_path).exists()


def test_a_machine_that_was_fenced_while_it_was_made_ready_does_not_start(tmp_path: Path) -> None:
    """libvirt asks again when all is ready; the fence that came meanwhile counts, and no mark is left."""
    (tmp_path / "run").mkdir()
    _stand(tmp_path, _held("primary"))
    machine = _on_xen()
    _ask(tmp_path, machine)
    _stand(tmp_path, _held("fenced"))
    assert "lost it to the other side" in _ask(tmp_path, machine, "web", "start", "begin", "-", expected=1).stderr
    assert not _mark(tmp_path).exists()


def test_a_fence_that_comes_in_the_slow_part_counts(tmp_path: Path) -> None:
    image = _tracked(tmp_path / "vda.qcow2")
    _stand(tmp_path, _held("primary"))
    slow = tmp_path / "bin" / "qemu-img"
    slow.parent.mkdir()
    fenced = tmp_path / "fenced"
    fenced.write_text(_held("fenced"))
    slow.write_text(f'#!/bin/sh\ncp {fenced} {tmp_path}/standings/{UUID}.json\nexec /usr/bin/qemu-img "$@"\n')
    slow.chmod(0o755)
    hook, protected = tmp_path / "guard", tmp_path / "protected"
    protected.mkdir()
    hook.write_bytes(script(str(tmp_path), str(protected)))
    done = subprocess.run(
        ["sh", str(hook), "web", "prepare", "begin", "-"],
        input=_on_xen(f"file='{image}'"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{slow.parent}:{os.environ['PATH']}"},
    )
    assert done.returncode == 1
    assert "lost it to the other side" in done.stderr


@pytest.mark.parametrize("directory", ["var/lib", "/a'b", "/a\nb"])
def test_a_directory_that_a_shell_would_misread_is_refused(directory: str) -> None:
    with pytest.raises(UsageError):
        script(directory, "/list")
    with pytest.raises(UsageError):
        script("/directory", directory)


def _withdraw(root: Path) -> list[str]:
    return guard.withdraw(LocalHost(system_ports()), str(root / "hooks"), "qemu", str(root / "ours"))


@pytest.fixture
def guarded(tmp_path: Path) -> Path:
    """A host's files with the guard in place."""
    assert _install(tmp_path, str(tmp_path / "ours")), "libvirt asks no hooks yet"
    guard.libvirt_was_told(LocalHost(system_ports()), "qemu", str(tmp_path / "ours"))
    return tmp_path


def test_the_guard_goes_where_no_standing_is_left(guarded: Path) -> None:
    (guarded / "ours" / "replicas" / UUID).mkdir(parents=True)
    said = [f"Replicas' disks are left in {guarded}/ours/replicas on this machine (machines: 1)."]
    assert _withdraw(guarded) == said
    assert _withdraw(guarded) == said
    assert list((guarded / "hooks" / "qemu.d").iterdir()) == []


def test_the_guard_stays_where_a_standing_needs_it(guarded: Path) -> None:
    _stand(guarded / "ours", _held("replica"))
    assert "(machines: 1)" in _withdraw(guarded)[0]
    assert [hook.read_bytes() for hook in _hooks(guarded)] == [_script(guarded)]


def _script(root: Path, directory: str = "") -> bytes:
    ours = directory or str(root / "ours")
    return script(ours, guard.protected_path(str(root / "hooks"), ours))


def _hooks(root: Path) -> list[Path]:
    return sorted((root / "hooks" / "qemu.d").iterdir())


def _install(root: Path, directory: str) -> bool:
    return guard.install(LocalHost(system_ports()), str(root / "hooks"), "qemu", directory)


def test_libvirt_is_told_of_its_first_hook_also_where_who_put_it_there_was_killed(tmp_path: Path) -> None:
    host, ours = LocalHost(system_ports()), str(tmp_path / "ours")
    assert _install(tmp_path, ours)
    assert len(_hooks(tmp_path)) == 1
    assert _install(tmp_path, ours)
    guard.libvirt_was_told(host, "qemu", ours)
    assert not _install(tmp_path, ours)
    guard.libvirt_was_told(host, "qemu", ours)
    _hooks(tmp_path)[0].unlink()
    assert _install(tmp_path, ours)
    assert _withdraw(tmp_path) == []
    assert [path for path in (tmp_path / "ours").rglob("*") if path.is_file()] == []


def test_each_directory_of_a_host_has_a_guard_of_its_own(guarded: Path) -> None:
    others = _script(guarded, "/another")
    assert not _install(guarded, "/another"), "libvirt asks hooks already"
    assert not _install(guarded, str(guarded / "ours"))
    assert {hook.read_bytes() for hook in _hooks(guarded)} == {_script(guarded), others}
    assert _withdraw(guarded) == []
    assert [hook.read_bytes() for hook in _hooks(guarded)] == [others]


def test_the_one_guard_of_an_older_version_gives_way_to_its_directory_s_own(guarded: Path) -> None:
    former = guarded / "hooks" / "qemu.d" / "twinhull-guard"
    former.write_bytes(_script(guarded).replace(b"set", b"sat"))
    assert not _install(guarded, "/another")
    assert former.exists(), "it guards another directory"
    assert not _install(guarded, str(guarded / "ours"))
    assert not former.exists()
    former.write_bytes(_script(guarded))
    _stand(guarded / "ours", _held("replica"))
    assert "(machines: 1)" in _withdraw(guarded)[0]
    assert former.exists()
    (guarded / "ours" / "standings" / f"{UUID}.json").unlink()
    assert _withdraw(guarded) == []
    assert [hook.read_bytes() for hook in _hooks(guarded)] == [_script(guarded, "/another")]


def test_an_older_guard_learns_which_machines_are_protected_before_it_is_replaced(guarded: Path) -> None:
    """Standings that an older version wrote are in no list yet; afterwards a lost standing is noticed."""
    ours = guarded / "ours"
    _stand(ours, _held("replica"))
    protected = Path(guard.protected_path(str(guarded / "hooks"), str(ours)))
    assert not (protected / UUID).exists()
    assert not _install(guarded, str(ours))
    assert (protected / UUID).exists()
    shutil.rmtree(ours)
    words = ["sh", str(_hooks(guarded)[0]), "web", "prepare", "begin", "-"]
    assert subprocess.run(words, input=QEMU, text=True, check=False).returncode == 1
    assert "(machines: 1)" in _withdraw(guarded)[0], "what is out of reach needs the guard most"


def test_a_standing_is_listed_before_it_is_there_and_forgotten_with_its_entry(guarded: Path) -> None:
    ours, host = str(guarded / "ours"), LocalHost(system_ports())
    protected = guard.protected_path(str(guarded / "hooks"), ours)
    files = StandingFiles(host, ours, protected)
    standing = Standing(MachineId(UUID), Role.REPLICA, 3)
    files.write(standing)
    assert [path.name for path in Path(protected).iterdir()] == [UUID]
    shutil.move(ours, f"{ours}-away")
    with pytest.raises(SiteError, match="is its file system mounted"):
        files.remove(standing.machine_id)
    assert (Path(protected) / UUID).exists()
    shutil.move(f"{ours}-away", ours)
    for _ in range(2):
        files.remove(standing.machine_id)
    assert list(Path(protected).iterdir()) == []


def test_a_standing_whose_entry_in_the_list_cannot_be_removed_stays(guarded: Path) -> None:
    """A machine that is listed without a standing would never start again."""
    ours, host = str(guarded / "ours"), LocalHost(system_ports())
    protected = Path(guard.protected_path(str(guarded / "hooks"), ours))
    files = StandingFiles(host, ours, str(protected))
    files.write(Standing(MachineId(UUID), Role.REPLICA, 3))
    (protected / UUID).unlink()
    (protected / UUID).mkdir()
    with pytest.raises(SiteError):
        files.remove(MachineId(UUID))
    assert Path(files.path(MachineId(UUID))).exists()


def test_a_host_without_python_gets_no_guard_and_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("sh", "cmp", "grep"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SiteError, match="has no Python") as told:
        _install(tmp_path, str(tmp_path / "ours"))
    assert "apt-get install python3" in told.value.hint
    assert not (tmp_path / "hooks").exists()


def test_a_host_without_python_keeps_its_older_guard_and_completes_the_list(
    guarded: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ours, programs = guarded / "ours", tmp_path_factory.mktemp("programs")
    for program in ("sh", "cmp", "grep", "find", "wc", "mkdir", "dirname", "sync"):
        (programs / program).symlink_to(str(shutil.which(program)))
    own = _hooks(guarded)[0]
    older = f"#!/bin/sh\ndirectory='{ours}'\n".encode()
    _stand(ours, _held("replica"))
    for place in (own, own.with_name("twinhull-guard")):
        own.unlink(missing_ok=True)
        place.write_bytes(older)
        place.chmod(0o755)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(programs))
            assert not _install(guarded, str(ours))
            with pytest.raises(SiteError, match="has no Python"):
                _install(guarded, "/another")
        assert [hook.read_bytes() for hook in _hooks(guarded)] == [older]
        assert Path(guard.protected_path(str(guarded / "hooks"), str(ours)), UUID).exists()
        assert not _install(guarded, str(ours))
        assert [hook.read_bytes() for hook in _hooks(guarded)] == [_script(guarded)]


def test_nothing_opens_the_disks_of_a_machine_that_the_guard_let_start(tmp_path: Path) -> None:
    """libvirt still calls it off: Xen builds it. Once it runs, or is off again, nothing keeps them."""
    (tmp_path / "run").mkdir()
    ports = system_ports()
    host, machine_id = LocalHost(ports), MachineId(UUID)
    connection = LibvirtConnection("x", "test:///default", host, ports.clock)
    place = Place("x", connection, host, ports.clock, str(tmp_path))
    locks = [("-s", place.disks_lock(machine_id))]
    _ask(tmp_path, _on_xen())
    with pytest.raises(MachineBusy, match="is being started"), holding(place, machine_id, "label", locks):
        pass
    monotonic = iter([0.0, AWAIT_SECONDS + 1.0])
    waiting = replace(place, clock=SimpleNamespace(monotonic=lambda: next(monotonic), sleep=lambda _: None))
    with pytest.raises(MachineBusy, match="has been starting"):
        await_start(waiting, machine_id)
    _ask(tmp_path, _on_xen(), "web", "started", "begin", "-")
    await_start(place, machine_id)
    with holding(place, machine_id, "label", locks):
        assert "its disks are being copied" in _ask(tmp_path, _on_xen(), expected=1).stderr
