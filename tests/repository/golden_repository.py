"""Makes the golden repository of the current format version: ``python -m tests.repository.golden_repository``.

It is made once for each format version and then kept: every later Twinhull must read it. Making it again is right only
before a version was released.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from twinhull.repository import open_store

from .world import CHEAP, CHUNK, DATABASE, PASSPHRASE, capture, document, made, noise, ports, write_disk

VERSIONS = ("1", "1.1")
ROOT = Path(__file__).parent / "golden" / f"version-{VERSIONS[-1]}"
"""The one of the current version."""
ONE = noise("golden", CHUNK) + bytes(70 * CHUNK) + b"compresses " * 1000 + b"end"
TWO = ONE[:CHUNK] + noise("changed", CHUNK // 2) + ONE[CHUNK + CHUNK // 2 :]
SMALL = b"a small disk" + bytes(500)


def main() -> None:
    """Make it anew."""
    shutil.rmtree(ROOT, ignore_errors=True)
    repository = made(open_store(str(ROOT)), ports(seed=f"golden {VERSIONS[-1]}"))
    with repository.writer() as writer:
        first = writer.publish(document({"vda": write_disk(writer, ONE), "vdb": write_disk(writer, SMALL)}))
    repository.rotate_keys(PASSPHRASE, PASSPHRASE, CHEAP)
    capture(repository, TWO, (first, ONE))
    repository.hold_point(first.id, "golden")
    repository.remove_point(capture(repository, SMALL, machine_id=DATABASE).id)
    repository.verify(read_data=True)
    repository.collect()


if __name__ == "__main__":
    main()
