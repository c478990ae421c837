"""What can become of a pack, and how it becomes known."""

from __future__ import annotations

from collections.abc import Callable

from twinhull.repository import MemoryStore, Repository, RepositoryError

_KIND_AT = 10
_DATA, _NODE = 1, 2
Damage = Callable[[MemoryStore, str], None]
"""Does something to one pack."""


def flipped(store: MemoryStore, name: str) -> None:
    data = bytearray(store.objects[name])
    data[100] ^= 0x10
    store.objects[name] = bytes(data)


def rotten(store: MemoryStore, name: str) -> None:
    """Nothing behind the header is what was written, and the length is."""
    data = store.objects[name]
    store.objects[name] = data[:48] + bytes(byte ^ 0x55 for byte in data[48:])


def missing(store: MemoryStore, name: str) -> None:
    del store.objects[name]


def truncated(store: MemoryStore, name: str) -> None:
    store.objects[name] = store.objects[name][: len(store.objects[name]) // 3]


def without_footer(store: MemoryStore, name: str) -> None:
    """The payloads are good, and the pack's own list is not."""
    data = bytearray(store.objects[name])
    data[-20] ^= 0x10
    store.objects[name] = bytes(data)


DAMAGES: dict[str, Damage] = {each.__name__: each for each in (flipped, rotten, missing, truncated, without_footer)}


def packs_of(store: MemoryStore, kind: str) -> list[str]:
    """The names of the data packs, or of the node packs."""
    byte = _DATA if kind == "data" else _NODE
    return [name for name, data in store.objects.items() if name.startswith("pack-") and data[_KIND_AT] == byte]


def do_damage(store: MemoryStore, damage: str, kind: str) -> None:
    """Do it to every pack of a kind that there is now."""
    names = packs_of(store, kind)
    assert names
    for name in names:
        DAMAGES[damage](store, name)


def read_everything(repository: Repository) -> None:
    """What a restore meets; it ends where it must."""
    for point in repository.points():
        for disk in point.document.disks:
            try:
                repository.reader().read(disk.root, 0, disk.root.size_bytes)
            except RepositoryError:
                continue


LEARNING: dict[str, Callable[[Repository], object]] = {
    "by a verification": lambda repository: repository.verify(read_data=True),
    "by the listing": lambda repository: repository.verify(),
    "by a read": read_everything,
}
"""How a process learns of damage. ``repository`` is opened anew by the caller or the same, as it likes."""
