"""Standings on a site's own host: small files, written as a whole, that the guard at the power switch reads.

``DIRECTORY/standings/UUID.json`` holds one standing as one line of JSON with sorted keys, so that the shell that
compares an epoch with the one it replaces finds it without a JSON parser.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from twinhull.hosts.host import FILES, MAX_FILE_BYTES, RECEIVE, Host, check, parse_files, read_file, require_ok
from twinhull.model.codec import standing_from_json, standing_to_json
from twinhull.model.errors import DataError, MachineBusy, ReplicaDirty, StaleEpoch
from twinhull.model.machine import MachineId, Role, Standing
from twinhull.model.names import checked_machine_id
from twinhull.model.processes import Completed
from twinhull.model.sealing import NO_KEYS, FindKeys, Form, StandingKeys, form_of, no_keys

LOCK_SECONDS = 10
"""How long the lock of the standings is waited for; it is held for an instant."""

_REFUSED, _UNREADABLE, _ELSEWHERE, _HELD = 45, 46, 47, 49
_LOCK = f"""
exec 9<"$directory"
flock -w {LOCK_SECONDS} 9 || exit {_HELD}
"""
_RAISE = (
    "set -e\numask 077"
    + RECEIVE
    + """
receive "$1" 0600 "$6"
"""
    + _LOCK
    + """
if [ -e "$1" ]; then
  held=$(sed -n 's/.*"epoch": \\([0-9][0-9]*\\).*/\\1/p' "$1")
  # A number that the shell could not compare is none: it would count as lower than any other.
  case $held in ''|0?*|???????????*) exit 46;; esac
  role=$(sed -n 's/.*"role": "\\([a-z]*\\)".*/\\1/p' "$1")
  # Of the standing itself only: the trackers' names, in braces of their own, come later.
  claim=$(sed -n 's/^{[^{]*"claim": "\\([^"]*\\)".*/\\1/p' "$1")
  is_another=0
  if [ -n "$claim" ] && [ "$claim" != "$3" ]; then is_another=1; fi
  if [ "$role" = primary ] && [ "$4" != primary ]; then is_another=1; fi
  if [ "$held" -gt "$2" ] || { [ "$held" -eq "$2" ] && [ $is_another = 1 ]; }; then
    echo "$held $role $claim"
    exit 45
  fi
  point=$(sed -n 's/^{[^{]*"point_id": "\\([^"]*\\)".*/\\1/p' "$1")
  coming=$(sed -n 's/^{[^{]*"applying_point_id": "\\([^"]*\\)".*/\\1/p' "$1")
  is_dirty=0
  if grep -q '^{[^{]*"is_dirty": true' "$1"; then is_dirty=1; fi
  if [ "$role" = replica ] && [ "$4" = primary ]; then
    if [ $is_dirty = 1 ] || [ "$point" != "$5" ]; then exit 47; fi
  elif [ "$role$4$7" = replicareplicaclean ]; then
    if [ $is_dirty = 1 ]; then point=$coming; fi
    if [ "$point" != "$5" ]; then exit 47; fi
  fi
fi
# First the guard's list: a standing that the guard could miss keeps nothing from starting.
if [ -n "$8" ]; then
  (umask 022; mkdir -p -- "${8%/*}")
  [ -e "$8" ] || { : >"$8"; sync "${8%/*}"; }
fi
mv -- "$new" "$1"
sync "$directory"
"""
)
_REMOVE = (
    """
directory=${1%/*}
if [ ! -d "$directory" ]; then
  [ -z "$2" ] || [ ! -e "$2" ] || { echo "$directory is not there: is its file system mounted?" >&2; exit 1; }
  exit 0
fi
"""
    + _LOCK
    + """
# First the guard's list: a machine that is listed without a standing would never start again.
if [ -n "$2" ] && [ -e "$2" ]; then
  rm -f -- "$2" && sync "${2%/*}" || exit
fi
rm -f -- "$1" && sync "$directory"
"""
)


class StandingFiles:
    """The standings below one directory of a host."""

    def __init__(
        self, host: Host, directory: str, protected: str = "", keys: FindKeys = no_keys, site: str = "NAME"
    ) -> None:
        """``protected`` is the guard's list of the machines that have a standing, if the host has a guard.

        ``keys`` are asked for at each use; ``site`` is what the site is called in a hint.
        """
        self._keys = keys
        self._site = site
        self._host = host
        self._protected = protected
        self.directory = f"{directory}/standings"

    def path(self, machine_id: MachineId) -> str:
        """Where a machine's standing is."""
        return f"{self.directory}/{checked_machine_id(machine_id)}.json"

    def read(self, machine_id: MachineId) -> Standing | None:
        """The machine's standing, or None; raises DataError where the file cannot be understood."""
        content = read_file(self._host, self.path(machine_id))
        return None if content is None else _parse(content, self.path(machine_id), self._keys(), self._site)

    def read_all(self) -> Sequence[Standing]:
        """All of them, in one go; one that cannot be understood is told as such (``Role.UNREADABLE``)."""
        return parse_standings(self._files(), self._keys())

    def _files(self) -> Mapping[str, bytes]:
        script = f'{FILES}files "$1" "*.json"'
        found, _ = parse_files(check(self._host, ["sh", "-c", script, "twinhull-list", self.directory]))
        return found

    def take_over(self, home: str = "", *, is_trusting: bool = False, is_dry_run: bool = False) -> Sequence[Standing]:
        """Seal the standings of the manager's own machines that an older version wrote here; safe to repeat.

        ``home`` is the directory's id, for a manager that meets it for the first time. ``is_trusting``: also those
        whose seal is by no key of ours. One that cannot be understood stays as it is, and so does one that another run
        writes meanwhile. Returns those that were sealed, or would be.
        """
        known = self._keys()
        keys = replace(known, home=known.home or home)
        if not keys.keys or not (keys.is_due or is_trusting):
            return ()
        due, left = _sorted_out(self._files(), keys, is_trusting=is_trusting)
        if is_dry_run:
            return due
        taken = [standing for standing in due if self._has_sealed(standing, keys)]
        keys.settle(keys.home, left)
        return taken

    def trust(self, *, is_dry_run: bool) -> Sequence[Standing]:
        """Seal also our machines' standings whose seal is not ours; returns those that were, or would be, sealed."""
        return self.take_over(is_trusting=True, is_dry_run=is_dry_run)

    def _has_sealed(self, standing: Standing, keys: StandingKeys) -> bool:
        try:
            self._write(standing, keys)
        except (StaleEpoch, ReplicaDirty):
            return False  # another run writes it meanwhile, and seals it
        return True

    def write(self, standing: Standing) -> None:
        """Write it durably and as a whole; raises StaleEpoch and ReplicaDirty as :func:`check_may_follow` does.

        The host compares and writes under one lock: of two writers of one epoch the first has it, and of two epochs
        the higher one stays.
        """
        keys = self._keys()
        self._write(standing, keys)
        keys.was_sealed(standing.machine_id)

    def _write(self, standing: Standing, keys: StandingKeys) -> None:
        path = self.path(standing.machine_id)
        line = json.dumps(keys.sealed(standing_to_json(standing)), sort_keys=True) + "\n"
        facts = (str(standing.epoch), standing.claim, standing.role.value, standing.point_id or "")
        words = (*facts, str(len(line)), "dirty" if standing.is_dirty else "clean", self._listed(standing.machine_id))
        command = ["sh", "-c", _RAISE, "twinhull-raise", path, *words]
        done = self._host.run(command, stdin=line.encode())
        if done.exit_status == _REFUSED:
            epoch, role, claim = done.stdout.decode().rstrip("\n").split(" ", 2)
            raise _refusal(standing, int(epoch), role, claim, self._host.name)
        if done.exit_status == _UNREADABLE:
            raise _unreadable(path, "it names no epoch")
        if done.exit_status == _ELSEWHERE:
            raise _not_there(standing, self._host.name)
        self._require_done(command, done)

    def remove(self, machine_id: MachineId) -> None:
        """Forget it; safe to repeat."""
        words = self.path(machine_id), self._listed(machine_id)
        command = ["sh", "-c", _REMOVE, "twinhull-forget", *words]
        self._require_done(command, self._host.run(command))

    def _listed(self, machine_id: MachineId) -> str:
        """The machine's entry in the guard's list; empty where the host has no guard."""
        return f"{self._protected}/{checked_machine_id(machine_id)}" if self._protected else ""

    def _require_done(self, command: Sequence[str], done: Completed) -> None:
        if done.exit_status == _HELD:
            raise MachineBusy(
                f"Another program has held {self.directory} on {self._host.name} for {LOCK_SECONDS} s; nothing was"
                " written there.",
                hint=f"See which program it is: fuser -v {self.directory}",
            )
        require_ok(self._host, command, done)


def parse_standings(found: Mapping[str, bytes], keys: StandingKeys) -> list[Standing]:
    """What the standings' files say, by their paths; one that cannot be believed is ``Role.UNREADABLE``.

    A file that is not called like a machine is none of ours.
    """
    return [_parse_one(path, content, keys) for path, content in found.items() if _is_ours(path)]


def _sorted_out(
    found: Mapping[str, bytes], keys: StandingKeys, *, is_trusting: bool
) -> tuple[list[Standing], dict[MachineId, Form]]:
    """The standings that are to be sealed, and the forms of those that are left as they are: other managers' own."""
    due: list[Standing] = []
    left: dict[MachineId, Form] = {}
    for path, content in found.items():
        if not _is_ours(path):
            continue
        raw, machine_id = _raw_of(content), _machine_of(path)
        doubt, form = keys.doubt(machine_id, raw), form_of(raw)
        if keys.is_own(machine_id) and (is_trusting if doubt else form is not Form.BOUND):
            with suppress(DataError):
                due.append(_parse(content, path, NO_KEYS))
        elif form is not Form.BOUND and not doubt:
            left[machine_id] = form
    return due, left


def _parse_one(path: str, content: bytes, keys: StandingKeys) -> Standing:
    try:
        return _parse(content, path, keys)
    except DataError:
        return Standing(_machine_of(path), Role.UNREADABLE, epoch=0)


def _raw_of(content: bytes) -> Mapping[str, Any]:
    """The file's JSON, or nothing where it is none."""
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return raw if isinstance(raw, dict) else {}


def _parse(content: bytes, path: str, keys: StandingKeys, site: str = "NAME") -> Standing:
    """What a machine's file says; raises DataError where it cannot be believed, or is of another machine."""
    if len(content) > MAX_FILE_BYTES:
        raise _unreadable(path, "it is far larger than a standing")
    raw = _raw_of(content)
    try:
        standing = standing_from_json(raw)
    except DataError as error:
        raise _unreadable(path, error.message) from error
    if doubt := keys.doubt(_machine_of(path), raw):
        raise _unreadable(path, doubt, f"If you trust its host, see what it says: twinhull site trust {site} --dry-run")
    if standing.machine_id != _machine_of(path):
        raise _unreadable(path, f"it is of machine {standing.machine_id}")
    return standing


def _machine_of(path: str) -> MachineId:
    return checked_machine_id(PurePosixPath(path).stem)


def _is_ours(path: str) -> bool:
    try:
        _machine_of(path)
    except ValueError:
        return False
    return True


_WRITE_ANEW = "If not, remove the file and run a sync: the standing is written again."


def _unreadable(where: str, reason: str, way_out: str = _WRITE_ANEW) -> DataError:
    """A standing that cannot be understood, as an error."""
    return DataError(
        f"The standing in {where} cannot be read ({reason}); its machine is not started, and was left as it is.",
        hint=f"See with twinhull status whether the other site has the machine. {way_out}",
    )


def check_may_follow(held: Standing | None, written: Standing, where: str) -> None:
    """Raise where a standing may not be written over the one that is held.

    StaleEpoch: an epoch never falls, and belongs to the run that claimed it first; one that names no run belongs to
    nobody yet. A primary becomes something else in a higher epoch only. ReplicaDirty: a replica becomes the primary at
    the very point that it is at, and is clean at the very point that it was last brought to; another run may have begun
    to bring it elsewhere.
    """
    if held is None:
        return
    if held.epoch > written.epoch or (held.epoch == written.epoch and _is_anothers(held, written)):
        raise _refusal(written, held.epoch, held.role.value, held.claim, where)
    if held.role is Role.REPLICA and _is_elsewhere(held, written):
        raise _not_there(written, where)


def _is_elsewhere(held: Standing, written: Standing) -> bool:
    """Whether a replica is not where the next standing says that it is."""
    if written.role is Role.PRIMARY:
        return held.is_dirty or held.point_id != written.point_id
    is_said_clean = written.role is Role.REPLICA and not written.is_dirty
    coming = held.applying_point_id if held.is_dirty else held.point_id
    return is_said_clean and coming != written.point_id


def _is_anothers(held: Standing, written: Standing) -> bool:
    is_demoted = held.role is Role.PRIMARY and written.role is not Role.PRIMARY
    return is_demoted or held.claim not in ("", written.claim)


def _not_there(written: Standing, where: str) -> ReplicaDirty:
    return ReplicaDirty(
        f"The replica of machine {written.machine_id} on {where} is not at {written.point_id or 'that point'}:"
        f" another run brings it elsewhere. It was not called {_called(written)}.",
        hint="Let the other run end, look with twinhull status, then ask again.",
    )


def _called(written: Standing) -> str:
    return "the primary" if written.role is Role.PRIMARY else "clean"


def _refusal(written: Standing, epoch: int, role: str, claim: str, where: str) -> StaleEpoch:
    name = f"Machine {written.machine_id}"
    if epoch > written.epoch:
        return StaleEpoch(
            f"{name} holds epoch {epoch} on {where}; epoch {written.epoch} is past and was not written.",
            hint="The machine was failed over meanwhile: look at it with twinhull status.",
        )
    whose = f", which the run {claim} chose" if claim else ""
    return StaleEpoch(
        f"{name} is {role} on {where} in epoch {epoch}{whose}; another run chose the same number to make it"
        f" {written.role.value}, and left it as it was.",
        hint="Another manager works on this machine: let it finish, look with twinhull status, then ask again.",
    )


def check_may_start(standing: Standing, epoch: int, site: str) -> None:
    """Raise where this standing does not let this epoch start the machine."""
    name = f"Machine {standing.machine_id}"
    if standing.is_dirty:
        raise ReplicaDirty(
            f"{name} is at no known point on site '{site}' (between {standing.point_id} and"
            f" {standing.applying_point_id}) and was not started.",
            hint="Run the sync again: it drives the replica forward to a whole point.",
        )
    if standing.role is not Role.PRIMARY or standing.epoch != epoch:
        raise StaleEpoch(
            f"{name} is {standing.role.value} with epoch {standing.epoch} on site '{site}'; epoch {epoch} was asked to"
            " start it, and it was not started.",
            hint="'twinhull status' shows which side holds the machine's epoch.",
        )
