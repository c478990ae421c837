"""The guard's script as a shell runs it, without a libvirt."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from twinhull.model.errors import UsageError
from twinhull.platforms.guard import script

UUID = "11111111-2222-3333-4444-55555555aaaa"
QEMU = f"<domain type='qemu'>\n<name>web</name>\n<uuid>{UUID.upper()}</uuid>\n<os><type>hvm</type></os></domain>"


def _ask(directory: Path, definition: str = QEMU, *words: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
    guard = directory / "guard"
    guard.write_bytes(script(str(directory)))
    arguments = words or ("web", "prepare", "begin", "-")
    done = subprocess.run(["sh", str(guard), *arguments], input=definition, capture_output=True, text=True, check=False)
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


def test_our_bitmaps_are_taken_out_of_an_hvm_machines_image_on_xen_and_no_others(tmp_path: Path) -> None:
    image = tmp_path / "vda.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "1M"], check=True)
    for bitmap in ("twinhull-a-1", "theirs"):
        subprocess.run(["qemu-img", "bitmap", "--add", str(image), bitmap], check=True)
    disk = f"<disk><source file='{image}'/></disk></domain>"

    def bitmaps() -> set[str]:
        told = subprocess.run(["qemu-img", "info", str(image)], check=True, capture_output=True, text=True).stdout
        return {name for name in ("twinhull-a-1", "theirs") if f"name: {name}" in told}

    _ask(tmp_path, QEMU.replace("</domain>", disk))
    _ask(tmp_path, QEMU.replace("qemu", "xen").replace(">hvm<", ">linux<").replace("</domain>", disk))
    assert bitmaps() == {"twinhull-a-1", "theirs"}
    _ask(tmp_path, QEMU.replace("qemu", "xen").replace("</domain>", disk))
    assert bitmaps() == {"theirs"}


@pytest.mark.parametrize("directory", ["var/lib", "/a'b", "/a\nb"])
def test_a_directory_that_a_shell_would_misread_is_refused(directory: str) -> None:
    with pytest.raises(UsageError):
        script(directory)
