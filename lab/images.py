"""Images of the lab's guests, from the cache; built on first use."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.cache import HERE, cached, key_of

TINY_READY = "TWINHULL-TINY-READY"
"""What the tiny guest writes to its consoles once its services run."""


@dataclass(frozen=True)
class TinyImage:
    """The tiny guest: a whole bootable disk in two formats, one for UEFI, and its kernel and initramfs alone."""

    raw: Path
    qcow2: Path
    uefi_qcow2: Path
    kernel: Path
    initrd: Path


def run_script(script: str, *arguments: str | Path) -> None:
    """Run one of the lab's build scripts; its output is shown if it fails.

    Raises:
        RuntimeError: the script failed; the sentence ends with what it printed.
    """
    command = [str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{script} failed with {done.returncode}:\n{done.stdout}{done.stderr}")


def cloud_kernel() -> Path:
    """Return a directory with Debian's cloud kernel: ``version``, ``vmlinuz``, ``lib/modules/VERSION``."""
    return cached("kernel", key_of([HERE / "kernel.sh"]), lambda work: run_script("kernel.sh", work))


def tiny_image() -> TinyImage:
    """Return the tiny guest's image."""
    scripts = [HERE / name for name in ("kernel.sh", "build_tiny.sh", "grub_disk.sh", "uefi_disk.sh")]
    kernel = cloud_kernel()
    entry = cached("tiny", key_of(scripts), lambda work: run_script("build_tiny.sh", kernel, work))
    return TinyImage(
        raw=entry / "tiny.raw",
        qcow2=entry / "tiny.qcow2",
        uefi_qcow2=entry / "tiny-uefi.qcow2",
        kernel=entry / "tiny-vmlinuz",
        initrd=entry / "tiny-initrd",
    )


if __name__ == "__main__":
    print(tiny_image().raw)
