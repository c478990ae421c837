"""A real PostgreSQL for tests: Debian's own, on a unix socket in a private directory, ended by its process id."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
from dbos import DBOS

_ACCOUNT = "postgres"
"""PostgreSQL refuses to run as root; Debian's package brings this account."""
_SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=", "max_connections=200")
_START_SECONDS = 60.0


@dataclass
class Postgres:
    """One server; ``database`` makes an empty database with the engine's tables, in a tenth of a second."""

    directory: Path
    numbers: Iterator[int] = field(default_factory=count)

    def database(self) -> str:
        """The URL of a new database."""
        name = f"runs{next(self.numbers)}"
        self._ask(f'CREATE DATABASE {name} TEMPLATE "{self._template()}"')
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql://twinhull:secret-word@/{name}?host={self.directory}"

    def _template(self) -> str:
        """A database in which the engine has made its tables, once for all tests."""
        name = "template_of_runs"
        if not self._ask(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):  # noqa: S608 - a name of ours
            self._ask(f"CREATE DATABASE {name}")
            url = self.url(name).replace("postgresql:", "postgresql+psycopg:")
            DBOS(config={"name": "twinhull", "system_database_url": url, "log_level": "CRITICAL"})
            try:
                DBOS.launch()
            finally:
                DBOS.destroy()
        return name

    def _ask(self, statement: str) -> list[object]:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server, until the context ends."""
    directory = Path(tempfile.mkdtemp(prefix="th-pg-"))
    shutil.chown(directory, _ACCOUNT, _ACCOUNT) if os.geteuid() == 0 else None
    programs = max(Path("/usr/lib/postgresql").iterdir(), key=lambda path: int(path.name)) / "bin"
    data = str(directory / "data")
    subprocess.run(
        [*_as_account(), str(programs / "initdb"), "-D", data, "-U", "twinhull", "-A", "trust", "-E", "UTF8", "-N"],
        check=True,
        capture_output=True,
    )
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    command = [*_as_account(), str(programs / "postgres"), "-D", data, "-k", str(directory), *settings]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found = Postgres(directory)
        _await(found, server)
        yield found
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(30)
        shutil.rmtree(directory)


def _as_account() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={_ACCOUNT}", f"--regid={_ACCOUNT}", "--clear-groups"]


def _await(server: Postgres, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        assert process.poll() is None, "PostgreSQL ended at once"
        with suppress(psycopg.OperationalError), psycopg.connect(server.url("postgres")):
            return
        assert time.monotonic() < deadline, "PostgreSQL does not answer"
        time.sleep(0.05)
