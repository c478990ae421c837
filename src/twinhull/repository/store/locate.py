"""From an address to a store."""

from __future__ import annotations

from math import inf
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from twinhull.model.errors import UsageError
from twinhull.model.ports import SystemClock
from twinhull.model.units import MIB
from twinhull.repository.store.contract import Store
from twinhull.repository.store.directory import DirectoryStore
from twinhull.repository.store.patient import PatientStore
from twinhull.repository.store.wrappers import LimitedStore

_BUCKET_OPTIONS = {"endpoint", "region", "limit_mib_per_second"}


def open_store(url: str) -> Store:
    """The store at a path or URL: ``/path``, ``file:///path``, ``s3://bucket/prefix?endpoint=URL&region=NAME``.

    A bucket's address may end in ``limit_mib_per_second=NUMBER``: no more is moved, in either direction, by a process.
    Raises UsageError for any other address.
    """
    parts = urlsplit(url)
    if parts.scheme == "" and url:
        return PatientStore(DirectoryStore(Path(url)))
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return PatientStore(DirectoryStore(Path(unquote(parts.path))))
    if parts.scheme == "s3" and parts.netloc:
        return _open_bucket(parts.netloc, parts.path.strip("/"), dict(parse_qsl(parts.query)))
    raise UsageError(
        f"'{url}' is not a store's address.", hint="Give a directory's path, file:///path or s3://bucket/prefix."
    )


def is_far(store: Store) -> bool:
    """Whether a store is worth a cache nearby: it is no directory."""
    return not isinstance(store, PatientStore)


def _open_bucket(bucket: str, prefix: str, options: dict[str, str]) -> Store:
    from twinhull.repository.store.s3 import BucketAddress, S3Store  # noqa: PLC0415 - loaded where it is needed

    unknown = options.keys() - _BUCKET_OPTIONS
    if unknown:
        told = ", ".join(sorted(_BUCKET_OPTIONS))
        raise UsageError(f"'{min(unknown)}' is not an option of a bucket.", hint=f"Its options are {told}.")
    limit = _limit(options.pop("limit_mib_per_second", "0"))
    store = S3Store(BucketAddress(bucket, prefix, limit_mib_per_second=limit, **options))
    return LimitedStore(store, limit * MIB, SystemClock()) if limit else store


def _limit(text: str) -> float:
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < inf:
        raise UsageError(f"'{text}' is not a limit.", hint="Write MiB per second as a number: limit_mib_per_second=2.5")
    return limit
