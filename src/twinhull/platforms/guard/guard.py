"""The guard at the power switch: a small hook script on the site's host that libvirt asks before it starts a machine.

It stands where the power is switched on, so that it holds whoever asks: another tool, an administrator, the host that
starts its machines by itself after a power failure. It reads the machine's standing (see
:mod:`twinhull.platforms.guard.standings`) and is the same for every libvirt driver. It needs Python on the host, for it
parses libvirt's XML at a privilege boundary (ADR 17).

Beside it, on the file system of the host's configuration, lies the *list*: a directory with an empty file for each
machine that has a standing. The guard tells by it a machine without a standing from one whose standing is out of reach.

Source: libvirt's "Hooks for specific system management", sections *qemu* and *libxl*.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

from twinhull.hosts.host import Host, check, write_file
from twinhull.model.errors import SiteError, UsageError

NAME = "twinhull-guard"

LOCK_SECONDS = 10
"""How long the standings' lock is waited for; it is held for an instant."""


def script(directory: str, protected: str) -> bytes:
    """The guard's script for a host with these standings and this list; raises UsageError for odd paths."""
    for path in (directory, protected):
        if not path.startswith("/") or "'" in path or "\n" in path:
            raise UsageError(f"'{path}' cannot be a site's directory: it must be absolute, without quotes.")
    ours = files("twinhull.platforms.guard")
    text = (ours / "guard.sh").read_text()
    text = text.replace("@DIRECTORY@", directory).replace("@PROTECTED@", protected)
    return text.replace("@PROGRAM@", (ours / "guard_program.py").read_text().rstrip()).encode()


def _digest(directory: str) -> str:
    return hashlib.sha256(directory.encode()).hexdigest()[:8]


def path(hooks_directory: str, driver: str, directory: str) -> str:
    """Where the guard of a libvirt driver (``qemu``, ``libxl``) and a directory belongs.

    Each directory has a guard of its own: two sites of one host stand beside one another, and hooks of others do, too.
    """
    return f"{former_path(hooks_directory, driver)}-{_digest(directory)}"


def former_path(hooks_directory: str, driver: str) -> str:
    """Where the one guard of a driver was, when a host could have one only."""
    return f"{hooks_directory}/{driver}.d/{NAME}"


def protected_path(hooks_directory: str, directory: str) -> str:
    """Where the list of a directory's protected machines is."""
    return f"{hooks_directory}/twinhull-protected-{_digest(directory)}"


def is_installed(host: Host, hooks_directory: str, driver: str, directory: str) -> bool:
    """Whether this very guard is in place with its whole list, no former one is, and libvirt knows of it."""
    protected = protected_path(hooks_directory, directory)
    paths = path(hooks_directory, driver, directory), former_path(hooks_directory, driver)
    words = [*paths, directory, _reload_due(driver, directory), protected]
    wanted = script(directory, protected)
    return host.run(["sh", "-c", _IS_INSTALLED, "twinhull-guard", *words], stdin=wanted).is_ok


def install(host: Host, hooks_directory: str, driver: str, directory: str) -> bool:
    """Put the guard in place; True where libvirt must be told, because it had no hook of that driver when it started.

    A libvirt that finds no hook at its start asks none until it is started again or reloaded. That it must be told is
    noted on the host before the guard is there, and stays true until :func:`libvirt_was_told`: whoever is killed in
    between leaves a guard that nobody asks. The list is complete before the guard reads it.

    A host without Python keeps the directory's guard of an older version, if it has one.

    Raises:
        SiteError: it could not be written, or the host has neither Python nor an older guard.
    """
    if is_installed(host, hooks_directory, driver, directory):
        return False
    own, former = path(hooks_directory, driver, directory), former_path(hooks_directory, driver)
    is_replaced = has_python(host)
    if not is_replaced:
        _require_older(host, own, former, directory)
    protected = protected_path(hooks_directory, directory)
    words = [hooks_directory, driver, _reload_due(driver, directory), directory, protected]
    due = check(host, ["sh", "-c", _MAKE_READY, "twinhull-due", *words])
    if is_replaced:
        write_file(host, own, script(directory, protected), mode="0755")
        check(host, ["sh", "-c", _REMOVE_FORMER, "twinhull-former", former, directory])
    return due.strip() == b"due"


def has_python(host: Host) -> bool:
    """Whether this version's guard can work there; without it a guard of an older version stays."""
    return host.run(["sh", "-c", _HAS_PYTHON, "twinhull-python"]).is_ok


def _require_older(host: Host, own: str, former: str, directory: str) -> None:
    if not host.run(["sh", "-c", _HAS_OLDER, "twinhull-older", own, former, directory]).is_ok:
        raise SiteError(
            f"{host.name} has no Python, which Twinhull's guard needs; nothing was changed there.",
            hint="Install it on that host: apt-get install python3",
        )


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
    words = [own, directory, former, _reload_due(driver, directory), protected_path(hooks_directory, directory)]
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


_HAS_PYTHON = "python3 -I -S -c 'import fcntl, json, uuid, xml.etree.ElementTree'"

_HAS_OLDER = """
for guard in "$1" "$2"; do
  if [ -x "$guard" ] && grep -qsxF -- "directory='$3'" "$guard"; then exit 0; fi
done
exit 1
"""

_IS_INSTALLED = """
[ ! -e "$4" ] && [ -d "$5" ] && cmp -s - "$1" && ! grep -qsxF -- "directory='$3'" "$2" || exit 1
for standing in "$3"/standings/*.json; do
  [ -e "$standing" ] || continue
  name=${standing##*/}
  [ -e "$5/${name%.json}" ] || exit 1
done
"""

_REMOVE_FORMER = """
if grep -qsxF -- "directory='$2'" "$1"; then rm -f -- "$1"; fi
"""

_MAKE_READY = """
set -e
umask 022
if [ "$(find "$1/$2" "$1/$2.d" -maxdepth 1 -type f 2>/dev/null | wc -l)" -eq 0 ]; then
  mkdir -p -- "$(dirname -- "$3")"
  : >"$3"
  sync -- "$3" "$(dirname -- "$3")"
fi
mkdir -p -- "$5"
for standing in "$4"/standings/*.json; do
  [ -e "$standing" ] || continue
  name=${standing##*/}
  : >"$5/${name%.json}"
done
sync -- "$5" "$(dirname -- "$5")"
if [ -e "$3" ]; then echo due; fi
"""

_WITHDRAW = """
guard=gone standings=0 replicas=0 due=$4 protected=$5
if [ -d "$2/standings" ]; then
  exec 9<"$2/standings"
  flock -w @LOCK_SECONDS@ 9 || { echo "another program holds $2/standings" >&2; exit 1; }
fi
for standing in "$2"/standings/*.json; do [ -e "$standing" ] && standings=$((standings + 1)); done
# A standing that is out of reach needs the guard most of all.
for listed in "$protected"/*; do
  [ ! -e "$listed" ] || [ -e "$2/standings/${listed##*/}.json" ] || standings=$((standings + 1))
done
for replica in "$2"/replicas/*/; do [ -d "$replica" ] && replicas=$((replicas + 1)); done
grep -qsxF -- "directory='$2'" "$3" || set -- "$1" "$2"
if [ -e "$1" ] || [ -n "$3" ]; then
  if [ "$standings" -gt 0 ]; then guard=needed
  else rm -rf -- "$1" "$1".?????? "$due" ${3:+"$3"} "$protected" || exit
  fi
fi
echo "$guard $standings $replicas"
""".replace("@LOCK_SECONDS@", str(LOCK_SECONDS))

__all__ = [
    "NAME",
    "former_path",
    "has_python",
    "install",
    "is_installed",
    "libvirt_was_told",
    "path",
    "protected_path",
    "script",
    "withdraw",
]
