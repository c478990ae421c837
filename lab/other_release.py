"""The other release of Debian: a root file system of it, built once, in which the tests without hypervisors run.

The lab itself runs on this machine's release. What differs between releases most often is Python and the versions of
libvirt, QEMU and nbdkit; ``make check`` meets all of them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab.cache import HERE, cached, key_of, release
from lab.images import run_script

SUPPORTED = ("bookworm", "trixie")
"""The releases on which ``make demo`` and ``make test`` hold: Debian 12 and 13."""

_SCRIPT = HERE / "other_release.sh"


def other_release() -> str:
    """Return the newest supported release that this machine does not run."""
    return [name for name in SUPPORTED if name != release()][-1]


def other_root() -> Path:
    """Return the other release's root file system, from the cache."""
    sources = [_SCRIPT, HERE / "packages.txt", HERE.parent / "requirements-dev.lock"]
    other = other_release()

    def build(work: Path) -> None:
        run_script(_SCRIPT.name, "build", other, work / "root")

    return cached("other-release", key_of(sources, other), build) / "root"


def check(source: Path) -> subprocess.CompletedProcess[str]:
    """Run ``make check`` on a copy of a checkout in the other release; its output is in ``stdout``."""
    command = ["setpriv", "--pdeathsig", "KILL", str(_SCRIPT), "check", str(other_root()), str(source)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


if __name__ == "__main__":
    done = check(HERE.parent)
    print(done.stdout)
    sys.exit(done.returncode)
