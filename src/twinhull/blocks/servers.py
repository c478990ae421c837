"""NBD servers that we own: qemu-nbd on a unix socket, which ends when we do.

The server runs under a small shell that holds the other end of a pipe of ours (through ssh, where the host is another
machine). When that pipe closes, because we close it or because we are gone, or when it brings no beat for long (see
:mod:`twinhull.blocks.heartbeat`), the shell ends the server and takes its socket away. While the shell lives it holds a
lock on ``SOCKET.lock``; only a shell that was itself killed can leave a server behind, and then ``SOCKET.pid`` names it
and nobody holds the lock.

Source: qemu-nbd(8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from twinhull.blocks.heartbeat import beating, until_silent
from twinhull.model.errors import SiteError, SiteFull
from twinhull.model.processes import Process, TooLong, read_line

READY_SECONDS = 60.0
"""How long a server may take to open its image."""

END_SECONDS = 60.0
"""How long a server may take to flush and end."""

LARGEST_SHARE = 16
"""Connections to one server at a time."""

_SHELL = """
export LC_ALL=C
socket=$1 pid_file=$1.pid; shift
directory=$(dirname -- "$socket")
mkdir -p -- "$directory"
# Logs and process ids are opened by name: in a place where another user may write, the name could be a link.
case $(stat -c '%u %a' -- "$directory") in
  "$(id -u) "*[2367]|"$(id -u) "*[2367]?) echo "failed: others may write to $directory"; exit 1;;
  "$(id -u) "*) ;;
  *) echo "failed: $directory belongs to another user"; exit 1;;
esac
exec 9>>"$socket.lock"
flock -n 9 || { echo "failed: another server holds $socket"; exit 1; }
rm -f -- "$socket" "$pid_file"
"$@" --socket="$socket" --pid-file="$pid_file" 9>&- </dev/null 2>"$socket.log" &
server=$!
trap 'kill $server 2>/dev/null' TERM HUP INT
until [ -s "$pid_file" ]; do
  kill -0 $server 2>/dev/null && { sleep 0.01; continue; }
  echo "failed: $(tr '\\n' ' ' <"$socket.log")"
  rm -f -- "$socket.log" "$socket.lock"
  exit 1
done
echo ready
@UNTIL_SILENT@
kill $server 2>/dev/null
wait $server
rm -f -- "$socket" "$pid_file" "$socket.log" "$socket.lock"
"""


@dataclass(frozen=True, slots=True)
class Image:
    """What is to be served: a disk image, its format, how, and a dirty bitmap to tell changes by (read-only only)."""

    path: str
    format: str
    is_writable: bool = False
    bitmap: str | None = None

    def command(self) -> list[str]:
        """The server's command line, without its socket."""
        command = ["qemu-nbd", "--persistent", f"--shared={LARGEST_SHARE}", f"--format={self.format}"]
        if self.is_writable:
            # Zeros are given back to the host's storage; what was written is durable at the flush.
            command += ["--cache=writeback", "--discard=unmap", "--detect-zeroes=unmap"]
        else:
            command += ["--read-only"]
        if self.bitmap:
            command += [f"--bitmap={self.bitmap}"]
        return [*command, self.path]


def _wait_ready(process: Process, image: Image) -> None:
    try:
        line = read_line(process, READY_SECONDS)
    except TimeoutError as error:
        raise SiteError(
            f"{image.path} could not be opened as an NBD disk within {READY_SECONDS:.0f} s.",
            hint="Check whether its storage hangs.",
        ) from error
    except TooLong as error:
        raise SiteError(f"The NBD server of {image.path} sent an invalid answer: {error}.") from error
    if line == "ready":
        return
    if "No space left on device" in line:
        raise SiteFull(
            f"The storage is full, so {image.path} cannot be written: {line}", hint="Free space on the site."
        )
    raise SiteError(
        f"{image.path} could not be opened as an NBD disk: {line.removeprefix('failed: ') or 'no reason was given'}",
        hint="Check whether a running machine or another program uses the image.",
    )


def _end(process: Process) -> None:
    """Close the pipe and wait until the server has flushed and ended."""
    try:
        if process.stdin:
            process.stdin.close()
        process.wait(END_SECONDS)
    except TimeoutError as error:
        raise SiteError(
            f"An NBD server has not written everything back after {END_SECONDS:.0f} s. It continues on its own.",
            hint="Check whether its storage hangs. Repeat the run when it answers again.",
        ) from error
    finally:
        process.end()


@contextmanager
def serving(start: Callable[[Sequence[str]], Process], image: Image, socket_path: str) -> Iterator[str]:
    """Serve an image on a unix socket of the host where ``start`` starts programs with pipes; yields the socket's path.

    Leaving the context ends the server, after it has written back everything.

    Raises:
        SiteError: the image cannot be opened, or the server did not end in time.
    """
    shell = _SHELL.replace("@UNTIL_SILENT@", until_silent())
    process = start(["sh", "-c", shell, "twinhull-nbd", socket_path, *image.command()])
    try:
        _wait_ready(process, image)
        with beating(process):
            yield socket_path
    finally:
        _end(process)
