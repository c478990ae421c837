"""Our directory on a site's host: what is in it, who may look into it, and the id that tells it from any other.

::

    DIRECTORY            0711  QEMU's own user passes through to its machine's images
      site-id            0600  made once, by the first manager that works here
      run  standings     0700  locks and standings: whoever can open a lock's file can hold the lock
      scratch  replicas  0711  what is in them belongs to us, or to one machine's QEMU
"""

from __future__ import annotations

from uuid import UUID

from twinhull.hosts.host import Host, check
from twinhull.model.errors import SiteError

_PREPARE = """
set -e
umask 077
make() {
  [ -d "$2" ] || mkdir -p -m "$1" -- "$2"
  [ "$(stat -c %a -- "$2")" = "${1#0}" ] || chmod -- "$1" "$2"
}
(umask 022; mkdir -p -- "$(dirname -- "$1")")
make 0711 "$1"
make 0711 "$1/scratch"
make 0711 "$1/replicas"
# An older version left these open to every user of the host.
make 0700 "$1/run"
make 0700 "$1/standings"
find "$1/run" "$1/standings" -maxdepth 1 -type f -perm /077 -exec chmod 0600 -- {} +
if [ ! -e "$1/site-id" ]; then
  new=$(mktemp -- "$1/site-id.XXXXXX")
  trap 'rm -f -- "$new"' EXIT
  echo "$2" >"$new"
  sync -- "$new"
  ln -- "$new" "$1/site-id" 2>/dev/null || [ -e "$1/site-id" ]
  sync -- "$1"
fi
head -c 100 -- "$1/site-id"
"""


def prepare(host: Host, directory: str, fresh_id: str) -> str:
    """Make the directory, or put its modes right; returns its id (``fresh_id`` where it had none). Safe to repeat."""
    return _checked(
        check(host, ["sh", "-c", _PREPARE, "twinhull-prepare", directory, fresh_id]), f"{directory} on {host.name}"
    )


def read_id(host: Host, directory: str) -> str:
    """The directory's id, empty where nothing has worked there yet; changes nothing."""
    script = '[ ! -e "$1/site-id" ] || head -c 100 -- "$1/site-id"'
    found = check(host, ["sh", "-c", script, "twinhull-site-id", directory])
    return _checked(found, f"{directory} on {host.name}") if found else ""


def _checked(found: bytes, where: str) -> str:
    try:
        return str(UUID(found.decode().strip()))
    except ValueError as error:
        raise SiteError(
            f"The file site-id in {where} holds no id.", hint="Remove that file: it is made anew, with a new id."
        ) from error
