"""The keeper: a small shell on the site's host that holds a machine's lock and thaws its guest if we do not.

It lives as long as the pipe between it and us (through ssh, where the host is another machine). When the pipe closes
while a freeze is under way, because we were killed or the network went, or when it brings no beat for long (see
:mod:`twinhull.blocks.heartbeat`), it thaws the guest at once; when we hang, it thaws after ``THAW_SECONDS``. It goes on
trying until the guest is thawed or off. Its lock also tells whether what carries our label on a machine belongs to
somebody alive.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twinhull.blocks.heartbeat import beating, next_line
from twinhull.hosts.host import check, first_word
from twinhull.model.errors import MachineBusy, SiteError
from twinhull.model.machine import MachineId
from twinhull.model.processes import Process, read_line
from twinhull.platforms.libvirt.place import Place

THAW_SECONDS = 20
"""How long after the freeze the keeper thaws by itself."""

ANSWER_SECONDS = 15.0
"""How long the keeper may take to answer; shorter than ``THAW_SECONDS``, because the guest may be frozen meanwhile."""

THAW_TRIES = 600
"""How often the keeper tries to thaw, at least a second apart. What it could not thaw stays noted as frozen."""

RELEASE_SECONDS = 5.0

_SHELL = """
export LC_ALL=C
umask 077
# A service manager's signal is for us; this shell ends when we let go of it.
trap : TERM HUP INT QUIT
lock=$1 uri=$2 machine=$3 seconds=$4 tries=$5
mkdir -p -- "$(dirname -- "$lock")"
exec 9>>"$lock"
flock -w 0.5 9 || { echo busy; exit 1; }
thaw() {
  thaw_guest && rm -f -- "$lock.freeze"
}
thaw_guest() {
  i=0
  while [ $i -lt "$tries" ]; do
    timeout 30 virsh -q -c "$uri" domfsthaw "$machine" && return
    # An embedded libvirt needs a moment after its opening until it has found its guests and their agents.
    timeout 30 virsh -q -c "$uri" "event --domain $machine --event lifecycle --timeout 3; domfsthaw $machine" && return
    [ "$(timeout 30 virsh -q -c "$uri" domstate "$machine")" = "shut off" ] && return
    i=$((i + 1)); sleep 1
  done
  return 1
}
command -v virsh >/dev/null && echo held || echo "held without virsh"
timer=
while words=$(@NEXT_LINE@) && [ -n "$words" ]; do
  set -- $words
  case $1 in
    freezing)
      echo "$(cat /proc/sys/kernel/random/boot_id) $2" >"$lock.freeze"
      (sleep "$seconds"; thaw) 9>&- </dev/null >/dev/null 2>&1 & timer=$!; echo armed;;
    thawed) kill $timer 2>/dev/null; timer=; rm -f -- "$lock.freeze"; echo disarmed;;
  esac
done
[ -z "$timer" ] || { kill $timer 2>/dev/null; thaw </dev/null >/dev/null 2>&1; }
"""


class Keeper:
    """One running keeper."""

    def __init__(self, process: Process, *, can_thaw: bool) -> None:
        self.can_thaw = can_thaw
        self._process = process

    def arm(self, start: int) -> None:
        """A freeze comes: from now on the guest is thawed whatever happens to us.

        ``start`` is libvirt's number of the machine while it runs, another one after each start.
        """
        self._say(f"freezing {start}", "armed")

    def disarm(self) -> None:
        """The guest is thawed."""
        self._say("thawed", "disarmed")

    def _say(self, word: str, answer: str) -> None:
        pipe = self._process.stdin
        if pipe is None:
            raise SiteError("The keeper of a freeze was started without a pipe.")
        try:
            pipe.write(word.encode() + b"\n")
            pipe.flush()
            heard = read_line(self._process, ANSWER_SECONDS)
        except OSError as error:  # TimeoutError and TooLong, too
            raise SiteError(f"The keeper of a freeze is gone or hangs ({error}).") from error
        if heard != answer:
            raise SiteError(f"The keeper of a freeze answered '{heard}' instead of '{answer}'.")


def _release(process: Process) -> None:
    """Close the pipe; a keeper that still has to thaw goes on without us."""
    try:
        if process.stdin:
            process.stdin.close()
        process.wait(RELEASE_SECONDS)
    except (OSError, TimeoutError):
        return  # it holds the lock until the guest is thawed, on purpose
    process.end()


@contextmanager
def keeping(place: Place, machine_id: MachineId) -> Iterator[Keeper]:
    """Hold a machine's lock on its host for the length of the context.

    Raises:
        MachineBusy: somebody holds it already.
    """
    lock, uri = place.capture_lock(machine_id), place.connection.uri_on_host
    limits = [str(THAW_SECONDS), str(THAW_TRIES)]
    shell = _SHELL.replace("@NEXT_LINE@", next_line())
    process = place.host.start(["sh", "-c", shell, "twinhull-keeper", lock, uri, machine_id, *limits])
    try:
        heard = first_word(place.host, process, ANSWER_SECONDS, "whether a machine's lock could be taken")
        if heard == "busy":
            raise MachineBusy(
                f"Another capture of machine {machine_id} is under way on {place.host.name}; this one was not begun.",
                hint="Wait until it has ended: twinhull runs list.",
            )
        if not heard.startswith("held"):
            raise SiteError(
                f"The lock {lock} on {place.host.name} could not be taken ({heard or 'no reason was given'})."
            )
        with beating(process, b"beat\n"):
            yield Keeper(process, can_thaw=heard == "held")
    finally:
        _release(process)


def has_started_since_freeze(place: Place, machine_id: MachineId, start: int) -> bool:
    """Whether a machine, now in its start of that number, was frozen in another one: a guest that boots is not frozen.

    Where the mark does not say, it was not, for all that is known.
    """
    answer = check(
        place.host, ["sh", "-c", _FROZEN_WHEN, "twinhull-frozen", f"{place.capture_lock(machine_id)}.freeze"]
    )
    then, _, now = answer.decode().partition("\n")
    return bool(then) and then != f"{now.strip()} {start}"


_FROZEN_WHEN = 'head -n 1 -- "$1" 2>/dev/null | grep . || echo; cat /proc/sys/kernel/random/boot_id'


def forget_freeze(place: Place, machine_id: MachineId) -> None:
    """The end of a freeze whose keeper is gone has been seen; safe to repeat."""
    check(place.host, ["rm", "-f", "--", f"{place.capture_lock(machine_id)}.freeze"])
