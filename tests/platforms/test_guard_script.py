"""The guard's script as a shell runs it, without a libvirt."""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from twinhull.model.errors import UsageError
from twinhull.model.ports import system_ports
from twinhull.platforms import guard
from twinhull.platforms.guard import script
from twinhull.platforms.hosts import LocalHost

UUID = "11111111-2222-3333-4444-55555555aaaa"
QEMU = f"<domain type='qemu'>\n<name>web</name>\n<uuid>{UUID.upper()}</uuid>\n<os><type>hvm</type></os></domain>"


def _ask(directory: Path, definition: str = QEMU, *words: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
    hook = directory / "guard"
    hook.write_bytes(script(str(directory)))
    arguments = words or ("web", "prepare", "begin", "-")
    done = subprocess.run(["sh", str(hook), *arguments], input=definition, capture_output=True, text=True, check=False)
    assert done.returncode == expected, done.stderr
    return done


def _stand(directory: Path, text: str) -> None:
    (directory / "standings").mkdir()
    (directory / "standings" / f"{UUID}.json").write_text(text)


def test_a_machine_without_a_standing_starts_freely(tmp_path: Path) -> None:
    _ask(tmp_path)


def test_a_clean_primary_starts(tmp_path: Path) -> None:
    _stand(tmp_path, '{"epoch": 3, "is_dirty": false, "role": "primary"}\n')
    _ask(tmp_path)


@pytest.mark.parametrize(
    "standing",
    [
        '{"epoch": 3, "is_dirty": false, "role": "replica"}',
        '{"epoch": 3, "is_dirty": false, "role": "fenced"}',
        '{"epoch": 3, "is_dirty": true, "role": "primary"}',
        '{"epoch": 3, "is_dir',
        "",
    ],
)
def test_everything_else_does_not_and_says_so(tmp_path: Path, standing: str) -> None:
    _stand(tmp_path, standing)
    assert f"machine {UUID} may not start on this host" in _ask(tmp_path, expected=1).stderr


def test_only_the_power_switch_is_guarded(tmp_path: Path) -> None:
    _stand(tmp_path, '{"role": "replica"}')
    _ask(tmp_path, QEMU, "web", "stopped", "end", "-")
    _ask(tmp_path, QEMU, "web", "release", "end", "-")


def test_a_definition_without_a_uuid_is_not_started(tmp_path: Path) -> None:
    assert "names no UUID" in _ask(tmp_path, "<domain/>", expected=1).stderr


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
    _stand(tmp_path, '{"role": "replica"}')
    _ask(tmp_path, machine, expected=1)
    assert _bitmaps(image) == {"twinhull-a-1", "theirs"}, "what is not started keeps its trackers"
    (tmp_path / "standings" / f"{UUID}.json").unlink()
    _ask(tmp_path, machine)
    assert _bitmaps(image) == {"theirs"}


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
    assert f"a change tracker could not be taken out of '{damaged}' of machine {UUID}" in said


@pytest.mark.parametrize("directory", ["var/lib", "/a'b", "/a\nb"])
def test_a_directory_that_a_shell_would_misread_is_refused(directory: str) -> None:
    with pytest.raises(UsageError):
        script(directory)


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
    _stand(guarded / "ours", '{"role": "replica"}')
    assert "(machines: 1)" in _withdraw(guarded)[0]
    assert [hook.read_bytes() for hook in _hooks(guarded)] == [script(str(guarded / "ours"))]


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
    others = script("/another")
    assert not _install(guarded, "/another"), "libvirt asks hooks already"
    assert not _install(guarded, str(guarded / "ours"))
    assert {hook.read_bytes() for hook in _hooks(guarded)} == {script(str(guarded / "ours")), others}
    assert _withdraw(guarded) == []
    assert [hook.read_bytes() for hook in _hooks(guarded)] == [others]


def test_the_one_guard_of_an_older_version_gives_way_to_its_directory_s_own(guarded: Path) -> None:
    former = guarded / "hooks" / "qemu.d" / "twinhull-guard"
    former.write_bytes(script(str(guarded / "ours")).replace(b"set", b"sat"))
    assert not _install(guarded, "/another")
    assert former.exists(), "it guards another directory"
    assert not _install(guarded, str(guarded / "ours"))
    assert not former.exists()
    former.write_bytes(script(str(guarded / "ours")))
    _stand(guarded / "ours", '{"role": "replica"}')
    assert "(machines: 1)" in _withdraw(guarded)[0]
    assert former.exists()
    (guarded / "ours" / "standings" / f"{UUID}.json").unlink()
    assert _withdraw(guarded) == []
    assert [hook.read_bytes() for hook in _hooks(guarded)] == [script("/another")]
