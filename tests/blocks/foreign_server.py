"""An NBD server that answers questions about extents with whatever it is given; NBD protocol, sections "Newstyle
negotiation" and "Structured reply chunk message". One client at a time, fixed size, nothing but reads and block status.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

Answer = Callable[[int, int], Sequence[tuple[int, int]]]
"""The extents, length and flags, that are told of an offset and a length."""

_OPTION_REPLY = 0x3E889045565A9
_STRUCTURED = 0x668E33EF
_GO, _STRUCTURED_REPLY, _LIST_META, _SET_META = 7, 8, 9, 10
_HAS_FLAGS, _CAN_MULTI_CONN = 1, 1 << 8
_READ, _DISCONNECT, _BLOCK_STATUS = 0, 2, 7


@contextmanager
def foreign_server(path: Path, size_bytes: int, answer: Answer) -> Iterator[str]:
    """Serve on a unix socket until the context ends."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener, size_bytes, answer), daemon=True)
        thread.start()
        try:
            yield str(path)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _serve(listener: socket.socket, size_bytes: int, answer: Answer) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client:
            try:
                _negotiate(client, size_bytes)
                _transmit(client, answer)
            except (ConnectionError, EOFError):
                continue


def _take(client: socket.socket, count: int) -> bytes:
    got = client.recv(count, socket.MSG_WAITALL)
    if len(got) < count:
        raise EOFError
    return got


def _negotiate(client: socket.socket, size_bytes: int) -> None:
    client.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
    _take(client, 4)
    while True:
        _, option, length = struct.unpack(">QII", _take(client, 16))
        data = _take(client, length)

        def reply(kind: int, content: bytes = b"", option: int = option) -> None:
            client.sendall(struct.pack(">QIII", _OPTION_REPLY, option, kind, len(content)) + content)

        if option == _STRUCTURED_REPLY:
            reply(1)
        elif option in (_LIST_META, _SET_META):
            if b"base:allocation" in data:
                reply(4, struct.pack(">I", 1) + b"base:allocation")
            reply(1)
        elif option == _GO:
            reply(3, struct.pack(">HQH", 0, size_bytes, _HAS_FLAGS | _CAN_MULTI_CONN))
            reply(1)
            return
        else:
            reply(0x80000001)


def _transmit(client: socket.socket, answer: Answer) -> None:
    while True:
        _, _, kind, cookie, offset, length = struct.unpack(">IHHQQI", _take(client, 28))
        if kind == _DISCONNECT:
            return
        if kind == _BLOCK_STATUS:
            told = b"".join(struct.pack(">II", *extent) for extent in answer(offset, length))
            _chunk(client, cookie, 5, struct.pack(">I", 1) + told)
        else:
            _chunk(client, cookie, 1, struct.pack(">Q", offset) + bytes(length))


def _chunk(client: socket.socket, cookie: int, kind: int, content: bytes) -> None:
    client.sendall(struct.pack(">IHHQI", _STRUCTURED, 1, kind, cookie, len(content)) + content)
