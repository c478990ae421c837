"""Working on a machine: its locks and a scratch directory on the site's host, held by a small shell there.

The shell lives as long as the pipe between it and us (through ssh, where the host is another machine). When the pipe
closes, because we are done, were killed or the network went, or when it brings no beat for long (see
:mod:`twinhull.blocks.heartbeat`), it ends what serves disks out of the directory, takes the directory away, and lets go
of the locks. Only a shell that was itself killed leaves a directory behind: beside each one lies ``NAME.label``, which
says whose it is, and which a living shell holds locked.

There are two kinds. A directory of ours belongs to root alone: it has logs, process ids and sockets of our NBD servers.
A *shared* one belongs to QEMU's user, who makes a socket and temporary images there while a running machine is
captured. Root opens no file in it by name. Each machine has its own, named as libvirt names its AppArmor profile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from twinhull.blocks.heartbeat import beating, until_silent
from twinhull.hosts.host import check, first_word
from twinhull.model.errors import MachineBusy, SiteError, SiteFull, SiteUnreachable
from twinhull.model.machine import MachineId
from twinhull.model.names import checked_machine_id, checked_word
from twinhull.model.ports import Process
from twinhull.platforms.contract import Leftover
from twinhull.platforms.libvirt.place import Place

SCRATCH = "scratch directory"

ANSWER_SECONDS = 60.0
"""How long the shell may take to say whether it holds what it was asked to."""

END_SECONDS = 60.0
"""How long the shell may take to end."""

AWAIT_SECONDS = 40
"""How long a start is waited for; a failover waits 60 s for a site before it goes on without it."""

START_SECONDS = 300
"""How long the guard's mark counts that it let a machine start; a start that takes longer has failed."""

SOCKET_PATH_BYTES = 107
"""How long a unix socket's path may be (unix(7))."""

_IS_STARTING = f"""
is_starting() {{
  [ -e "$1" ] && read -r boot since <"$1" && [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || return 1
  up=$(cut -d. -f1 /proc/uptime)
  [ $((up - since)) -lt {START_SECONDS} ]
}}
"""

_REMOVE = """
remove() {
  # In a shared directory no server of ours runs, and QEMU's user may have put anything there.
  case ${1##*/} in libvirt-*) set -- "$1" none;; *) set -- "$1" '*.pid';; esac
  for pid_file in "$1"/$2; do
    [ -s "$pid_file" ] || continue
    pid=$(cat "$pid_file")
    # Only the server that this very file speaks of: its command line names it.
    if tr '\\0' '\\n' < "/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$pid_file"; then kill "$pid"; fi
  done
  rm -rf -- "$1" "$1.label"
}
"""

_HOLD = (
    _REMOVE
    + """
export LC_ALL=C
umask 077
# A service manager's signal is for us; this shell ends when we let go of it.
trap : TERM HUP INT QUIT
@IS_STARTING@
scratch=$1 machine=$2 owner=$3; shift 3
lock_file=7
while [ $# -gt 0 ]; do
  mkdir -p -- "$(dirname -- "$2")"
  eval "exec $lock_file>>\\"\\$2\\""
  # Who only asks whether a lock is held has it for an instant.
  flock -w 0.5 "$1" $lock_file || { echo "busy $2"; exit 1; }
  case $2 in *.disks) ! is_starting "${2%.disks}.starting" || { echo "starting"; exit 1; } ;; esac
  lock_file=$((lock_file + 1)); shift 2
done
(umask 022; mkdir -p -m 0711 -- "$(dirname -- "$scratch")")
exec 6>>"$scratch.label"
flock -w 0.5 -x 6 || { echo "busy $scratch"; exit 1; }
make() {
  rm -rf -- "$scratch" && mkdir -m 0700 -- "$scratch" && echo "$machine" >"$scratch.label" || return
  [ -z "$owner" ] || chown "$owner" "$scratch"
}
complaint=$(make 2>&1) || { echo "failed $complaint" | tr '\\n' ' '; remove "$scratch"; exit 1; }
echo held
@UNTIL_SILENT@
remove "$scratch"
"""
)

_LEFT = """
cd "$1" 2>/dev/null || exit 0
for lock in run/$2.lock run/$2.disks; do
  [ -e "$lock" ] || continue
  name=${lock#run/}
  if ! flock -n "$lock" true; then echo "busy ${name%.*}"; continue; fi
  # The guard makes the lock of the disks of each machine that starts; the other one is made by captures.
  case $name in *.lock) echo "idle ${name%.*}";; esac
done
for mark in run/$2.lock.freeze; do
  if [ -e "$mark" ]; then mark=${mark#run/}; echo "frozen ${mark%.lock.freeze}"; fi
done
for label in scratch/*.label; do
  [ -s "$label" ] && flock -n "$label" true || continue
  name=${label#scratch/}
  echo "scratch $(cat "$label") ${name%.label}"
done
exit 0
"""


def shared_directory(scratch: str, machine_id: MachineId) -> str:
    """Where a machine's QEMU makes its socket ``nbd``: named as libvirt's AppArmor profile, unless that is too long.

    A host that confines QEMU refuses the short name; a socket with the long one could be made by nobody.
    """
    named = f"{scratch}/libvirt-{checked_machine_id(machine_id)}"
    is_short = len(f"{named}/nbd".encode()) <= SOCKET_PATH_BYTES
    return named if is_short else f"{scratch}/libvirt-{_digest(machine_id)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@contextmanager
def holding(
    place: Place, machine_id: MachineId, label: str, locks: Sequence[tuple[str, str]] = (), *, shared_with: str = ""
) -> Iterator[str]:
    """Hold locks of a machine and a scratch directory for the length of the context; yields the directory.

    ``locks`` are at most three files of the host, each behind flock's word for how: ``-x`` alone, ``-s`` shared.
    ``shared_with`` is the ``UID:GID`` of QEMU's user if the directory is a shared one.

    Raises:
        MachineBusy: somebody else holds one of them, or the machine is being started.
    """
    ours = f"{machine_id[:8]}-{_digest(label)}"
    scratch = shared_directory(place.scratch, machine_id) if shared_with else f"{place.scratch}/{ours}"
    arguments = [scratch, machine_id, shared_with, *(word for lock in locks for word in lock)]
    shell = _HOLD.replace("@UNTIL_SILENT@", until_silent()).replace("@IS_STARTING@", _IS_STARTING)
    process = place.host.start(["sh", "-c", shell, "twinhull-hold", *arguments])
    try:
        _require_held(
            place, machine_id, first_word(place.host, process, ANSWER_SECONDS, "whether a machine can be worked on")
        )
        with beating(process):
            yield scratch
    finally:
        _let_go(place, process)


def _let_go(place: Place, process: Process) -> None:
    """Close the pipe and wait until the shell has cleaned up."""
    try:
        if process.stdin:
            process.stdin.close()
        process.wait(END_SECONDS)
    except TimeoutError as error:
        raise SiteUnreachable(
            f"{place.host.name} has not cleaned up after {END_SECONDS:.0f} s; it goes on with that by itself.",
            hint="Is its storage hanging? What stays is found and removed by the next run of the machine.",
        ) from error
    finally:
        process.end()


def _require_held(place: Place, machine_id: MachineId, heard: str) -> None:
    word, _, rest = heard.partition(" ")
    if word == "busy":
        raise MachineBusy(
            f"Somebody else works on machine {machine_id} on site '{place.site}' ({rest} is held); nothing was begun.",
            hint="Wait until it has ended: twinhull runs list.",
        )
    if word == "starting":
        raise MachineBusy(
            f"Machine {machine_id} is being started on site '{place.site}'; its disks were left alone.",
            hint="Wait until it runs, then ask again.",
        )
    if "No space left on device" in rest:
        raise SiteFull(f"There is no room left on {place.host.name}: {rest}", hint="Free space there.")
    if word != "held":
        raise SiteError(f"Machine {machine_id} could not be worked on on {place.host.name}: {rest or 'no reason'}.")


def await_start(place: Place, machine_id: MachineId) -> None:
    """Wait until it is decided whether a machine runs that the guard let start before it was fenced.

    On Xen only: libvirt calls a machine off until it runs.

    Raises:
        MachineBusy: it takes long.
    """
    command = ["sh", "-c", f'{_IS_STARTING}is_starting "$1"', "twinhull-starting", place.starting_mark(machine_id)]
    deadline = place.clock.monotonic() + AWAIT_SECONDS
    while place.host.run(command).is_ok:
        if place.clock.monotonic() > deadline:
            raise MachineBusy(
                f"Machine {machine_id} has been starting on site '{place.site}' for {AWAIT_SECONDS} s.",
                hint="See what it does with virsh there, then ask again.",
            )
        place.clock.sleep(1.0)


@dataclass(slots=True)
class Traces:
    """What lies about on a host: machines that are worked on, those that were once captured, freezes, directories."""

    busy: set[MachineId] = field(default_factory=set)
    idle: set[MachineId] = field(default_factory=set)
    frozen: set[MachineId] = field(default_factory=set)
    scratch: list[Leftover] = field(default_factory=list)


def traces(place: Place, machine_id: MachineId | None) -> Traces:
    """The traces of all work, or of that on one machine, in one command."""
    arguments = [place.directory, machine_id or "*"]
    found = Traces()
    answer = check(place.host, ["sh", "-c", _LEFT, "twinhull-left", *arguments]).decode(errors="replace")
    for line in answer.splitlines():
        with suppress(ValueError):  # what is not called as we call things is none of ours, and is left alone
            _note(line, machine_id, found)
    found.idle -= found.busy  # a machine has two locks
    return found


def _note(line: str, wanted: MachineId | None, found: Traces) -> None:
    """Add one line of the host's answer; raises ValueError where it names nothing of ours."""
    kind, _, rest = line.partition(" ")
    word, _, name = rest.partition(" ")
    machine_id = checked_machine_id(word)
    kinds = {"busy": found.busy, "idle": found.idle, "frozen": found.frozen}
    if kind in kinds:
        kinds[kind].add(machine_id)
    elif wanted in (None, machine_id):
        found.scratch.append(Leftover(SCRATCH, checked_word(name), machine_id))


def remove_scratch(place: Place, name: str) -> None:
    """Remove a directory that was left, and end the servers that were left in it; safe to repeat."""
    check(place.host, ["sh", "-c", f'{_REMOVE}remove "$1"', "twinhull-remove", f"{place.scratch}/{name}"])
