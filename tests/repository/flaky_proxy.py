"""A way to an S3 server on which things go wrong for the moment."""

from __future__ import annotations

import http.client
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class _Handler(BaseHTTPRequestHandler):
    """Every fifth request is refused; every seventh is done, and its answer is lost."""

    protocol_version = "HTTP/1.1"
    server: FlakyServer

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        number = self.server.count()
        if number % 5 == 0:
            self._answer(503, [("content-length", "0")], b"")
            return
        status, headers, data = self._forwarded(body)
        if number % 7 == 0:
            self.server.lost_answers.append(self.command)
            self.close_connection = True
            return
        self._answer(status, headers, data)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on  # noqa: N815 - the library's names

    def _forwarded(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.target, timeout=30)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response_only(status)
        kept = [(name, value) for name, value in headers if name.lower() not in ("transfer-encoding", "connection")]
        if self.command != "HEAD":
            kept = [(name, value) for name, value in kept if name.lower() != "content-length"]
            kept.append(("content-length", str(len(data))))
        for name, value in kept:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nobody reads it."""


class FlakyServer(ThreadingHTTPServer):
    def __init__(self, endpoint: str) -> None:
        self.target = urlsplit(endpoint).netloc
        self.lost_answers: list[str] = []
        self._numbers = itertools.count(1)
        super().__init__((self.target.partition(":")[0], 0), _Handler)

    @property
    def endpoint(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"

    def count(self) -> int:
        """Which request this is."""
        return next(self._numbers)


@contextmanager
def flaky_way_to(endpoint: str) -> Iterator[FlakyServer]:
    with FlakyServer(endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
