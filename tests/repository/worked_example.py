"""Writes docs/repository-example.md from the golden repository: ``python -m tests.repository.worked_example``."""

from __future__ import annotations

import json
from pathlib import Path

from .golden_repository import ROOT
from .independent_reader import IndependentReader
from .world import PASSPHRASE

TARGET = Path(__file__).parents[2] / "docs" / "repository-example.md"


def example() -> str:
    """The document's text."""
    reader = IndependentReader(ROOT, PASSPHRASE)
    point_path = min(ROOT.glob("point/point-*"))
    point = reader.points()[0]
    root = bytes.fromhex(point["disks"][0]["root"])
    pack, _, offset, length, _ = reader.places[root]
    node = reader.chunk(root, "node")
    chunk = _last_chunk(reader, node)
    data_pack, _, data_offset, data_length, position = reader.places[chunk]
    objects = sorted((path.name, path.stat().st_size) for path in ROOT.rglob("*") if path.is_file())
    return f"""# A repository, opened by hand

This page is written by `python -m tests.repository.worked_example` from the repository in
`tests/repository/golden/version-1.1`, by the second reader in `tests/repository/independent_reader.py`; a test fails
where the two differ. The format is in [repository-format.md](repository-format.md). The passphrase is `{PASSPHRASE}`.

## What lies in the store

| object | bytes |
|---|---|
{chr(10).join(f"| `{name}` | {size} |" for name, size in objects)}

## `config`

```
{(ROOT / "config" / "config").read_text().strip()}
```

## The key

```
{next(ROOT.glob("key/key-*")).read_text().strip()}
```

Argon2id of the passphrase, and HKDF with `wrap_salt`, give the key that unwraps the ring of repository keys:

{chr(10).join(f"{number}. `{key.hex()}`" for number, key in enumerate(reader.ring, 1))}

From the first one come, among others, the keys for

| purpose | key |
|---|---|
| `config` | `{reader.derive("config").hex()}` |
| `id data` | `{reader.derive("id data").hex()}` |
| `id node` | `{reader.derive("id node").hex()}` |
| `names` | `{reader.derive("names").hex()}` |

The tag in the name of a removal is the beginning of the HMAC of what stands before it, under the key for `names`.

## The point `{point_path.name}`

Its object begins with the header

```
{_dump(point_path.read_bytes()[:48])}
```

which names repository key 1, and whose last 32 bytes are the salt of the object's own key,
`{reader.derive("point", point_path.read_bytes()[16:48]).hex()}`.
Opened, it says

```json
{json.dumps(point, indent=2, sort_keys=True)}
```

## The tree of its disk `vda`

The disk has {point["disks"][0]["size_bytes"]} bytes, that is {-(-point["disks"][0]["size_bytes"] // reader.chunk_size)}
chunks of {reader.chunk_size}, so its root is at level {node[0]}. The root is a payload of {length} bytes at {offset} in
`{pack.name}`; opened and unpacked it is the node

```
{_dump(node)}
```

## The last chunk of its data

The id of the last chunk below it is `{chunk.hex()}`, which is chunk {position} (counted from 0) in the payload of
{data_length} bytes at {data_offset} in `{data_pack.name}`. It begins

```
{_dump(reader.chunk(chunk, "data")[:64])}
```
"""


def _last_chunk(reader: IndependentReader, node: bytes) -> bytes:
    """The id of the last data chunk below a node."""
    return node[-32:] if node[0] == 0 else _last_chunk(reader, reader.chunk(node[-32:], "node"))


def _dump(data: bytes) -> str:
    rows = [data[at : at + 16] for at in range(0, len(data), 16)]
    return "\n".join(f"{16 * number:04x}  {row.hex(' ')}" for number, row in enumerate(rows))


if __name__ == "__main__":
    TARGET.write_text(example())
