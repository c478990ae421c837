"""Packs while they are filled: places that several threads seal, and the check before anything is stored."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from twinhull.repository import RepositoryDamaged
from twinhull.repository.format.compression import encode
from twinhull.repository.format.ids import ChunkKind, PackId
from twinhull.repository.format.keyring import Keys
from twinhull.repository.format.packs import PackBuilder, chunk_in, open_payload, read_footer
from twinhull.repository.store.memory import MemoryStore

from .world import CHUNK, made, noise

KEYS = Keys([b"k" * 32])
PACK_ID = PackId(b"p" * 32)
MOMENT_SECONDS = 0.05


def test_places_are_sealed_in_any_order_and_a_pack_waits_for_the_last_one() -> None:
    builder = PackBuilder(KEYS, ChunkKind.DATA, PACK_ID)
    contents = [noise(number, CHUNK) for number in range(5)]
    ids = [KEYS.chunk_id(ChunkKind.DATA, content) for content in contents]
    payloads = [encode(content, 1) for content in contents]
    places = [builder.reserve([chunk_id], len(payload)) for chunk_id, payload in zip(ids, payloads, strict=True)]
    for number in (3, 0, 4, 1):
        builder.seal(places[number], payloads[number])
    with ThreadPoolExecutor(1) as thread:
        finishing = thread.submit(builder.finish)
        with pytest.raises(TimeoutError):
            finishing.result(MOMENT_SECONDS)
        builder.seal(places[2], payloads[2])
        pack = finishing.result()

    store = MemoryStore()
    store.create(pack.info.name, pack.parts)
    info, entries = read_footer(KEYS, store, PACK_ID)
    assert info == pack.info
    assert [entry.chunk_id for entry in entries] == ids
    for content, entry in zip(contents, entries, strict=True):
        sealed = store.read_range(info.name, entry.offset_bytes, entry.length_bytes)
        assert chunk_in(KEYS, info, entry, open_payload(KEYS, info, entry, sealed, CHUNK), CHUNK) == content


def test_a_chunk_that_is_not_what_its_id_says_is_not_stored() -> None:
    store = MemoryStore()
    repository = made(store)
    before = set(store.objects)
    chunk_id = repository.chunk_id(noise("meant", CHUNK))
    assert chunk_id
    writer = repository.writer()
    writer.keep(ChunkKind.DATA, {chunk_id: noise("what bad memory made of it", CHUNK)})
    with pytest.raises(RepositoryDamaged, match="did not survive compression"):
        writer.flush()
    with pytest.raises(RepositoryDamaged, match="did not survive compression"):
        writer.close()
    assert set(store.objects) == before
