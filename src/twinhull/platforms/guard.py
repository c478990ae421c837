"""The guard at the power switch: a small hook script on the site's host that libvirt asks before it starts a machine.

It stands where the power is switched on, so that it holds whoever asks: another tool, an administrator, the host that
starts its machines by itself after a power failure. It reads the machine's standing (see
:mod:`twinhull.platforms.standings`), needs a POSIX shell only, and is the same for every libvirt driver.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

from twinhull.model.errors import UsageError
from twinhull.platforms.hosts import Host, check, write_file

NAME = "twinhull-guard"


def script(directory: str) -> bytes:
    """The guard's script for a host that keeps its standings below ``directory``; raises UsageError for odd paths."""
    if not directory.startswith("/") or "'" in directory or "\n" in directory:
        raise UsageError(f"'{directory}' cannot be a site's directory: it must be absolute, without quotes.")
    text = (files("twinhull.platforms") / "guard.sh").read_text()
    return text.replace("@DIRECTORY@", directory).encode()


def path(hooks_directory: str, driver: str, directory: str) -> str:
    """Where the guard of a libvirt driver (``qemu``, ``libxl``) and a directory belongs.

    Each directory has a guard of its own: two sites of one host stand beside one another, and hooks of others do, too.
    """
    return f"{former_path(hooks_directory, driver)}-{hashlib.sha256(directory.encode()).hexdigest()[:8]}"


def former_path(hooks_directory: str, driver: str) -> str:
    """Where the one guard of a driver was, when a host could have one only."""
    return f"{hooks_directory}/{driver}.d/{NAME}"


def is_installed(host: Host, hooks_directory: str, driver: str, directory: str) -> bool:
    """Whether this very guard is in place, no former one of the same directory, and libvirt knows of it."""
    paths = path(hooks_directory, driver, directory), former_path(hooks_directory, driver)
    words = [*paths, directory, _reload_due(driver, directory)]
    return host.run(["sh", "-c", _IS_INSTALLED, "twinhull-guard", *words], stdin=script(directory)).is_ok


def install(host: Host, hooks_directory: str, driver: str, directory: str) -> bool:
    """Put the guard in place; True where libvirt must be told, because it had no hook of that driver when it started.

    A libvirt that finds no hook at its start asks none until it is started again or reloaded. That it must be told is
    noted on the host before the guard is there, and stays true until :func:`libvirt_was_told`: whoever is killed in
    between leaves a guard that nobody asks.

    Raises:
        SiteError: it could not be written.
    """
    if is_installed(host, hooks_directory, driver, directory):
        return False
    due = check(host, ["sh", "-c", _IS_DUE, "twinhull-due", hooks_directory, driver, _reload_due(driver, directory)])
    write_file(host, path(hooks_directory, driver, directory), script(directory), mode="0755")
    check(host, ["sh", "-c", _REMOVE_FORMER, "twinhull-former", former_path(hooks_directory, driver), directory])
    return due.strip() == b"due"


def libvirt_was_told(host: Host, driver: str, directory: str) -> None:
    """The libvirt of that driver has been reloaded since the guard was put there; safe to repeat."""
    check(host, ["rm", "-f", "--", _reload_due(driver, directory)])


def _reload_due(driver: str, directory: str) -> str:
    """The note that libvirt asks no hooks yet."""
    return f"{directory}/run/{driver}.reload-due"


def withdraw(host: Host, hooks_directory: str, driver: str, directory: str) -> list[str]:
    """Take the guard away unless a standing needs it; returns what was left on the host, one sentence each.

    The guard of another directory (another site on the same host) is not touched. Safe to repeat.
    """
    own = path(hooks_directory, driver, directory)
    former = former_path(hooks_directory, driver)
    words = [own, directory, former, _reload_due(driver, directory)]
    guard, standings, replicas = check(host, ["sh", "-c", _WITHDRAW, "twinhull-withdraw", *words]).decode().split()
    left = []
    if guard == "needed":
        left.append(
            f"Standings are left in {directory}/standings on {host.name} (machines: {standings}): the guard {own}"
            " stays, for it keeps them from running on two sites."
        )
    if int(replicas):
        left.append(f"Replicas' disks are left in {directory}/replicas on {host.name} (machines: {replicas}).")
    return left


_IS_INSTALLED = """
[ ! -e "$4" ] && cmp -s - "$1" && ! grep -qsxF -- "directory='$3'" "$2"
"""

_REMOVE_FORMER = """
if grep -qsxF -- "directory='$2'" "$1"; then rm -f -- "$1"; fi
"""

_IS_DUE = """
set -e
umask 022
if [ "$(find "$1/$2" "$1/$2.d" -maxdepth 1 -type f 2>/dev/null | wc -l)" -eq 0 ]; then
  mkdir -p -- "$(dirname -- "$3")"
  : >"$3"
  sync -- "$3" "$(dirname -- "$3")"
fi
if [ -e "$3" ]; then echo due; fi
"""

_WITHDRAW = """
guard=gone standings=0 replicas=0 due=$4
[ -d "$2/standings" ] && exec 9<"$2/standings" && flock 9
for standing in "$2"/standings/*.json; do [ -e "$standing" ] && standings=$((standings + 1)); done
for replica in "$2"/replicas/*/; do [ -d "$replica" ] && replicas=$((replicas + 1)); done
grep -qsxF -- "directory='$2'" "$3" || set -- "$1" "$2"
if [ -e "$1" ] || [ -n "$3" ]; then
  if [ "$standings" -gt 0 ]; then guard=needed
  else rm -f -- "$1" "$1".?????? "$due" ${3:+"$3"} || exit
  fi
fi
echo "$guard $standings $replicas"
"""

__all__ = ["NAME", "former_path", "install", "is_installed", "libvirt_was_told", "path", "script", "withdraw"]
