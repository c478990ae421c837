"""From an address to a store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from twinhull.model.errors import UsageError
from twinhull.repository.store.contract import Store
from twinhull.repository.store.directory import DirectoryStore


def open_store(url: str) -> Store:
    """The store at a path or URL: ``/path``, ``file:///path``, ``s3://bucket/prefix?endpoint=URL&region=NAME``.

    Raises UsageError for any other address.
    """
    parts = urlsplit(url)
    if parts.scheme == "" and url:
        return DirectoryStore(Path(url))
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return DirectoryStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        return _open_bucket(parts.netloc, parts.path.strip("/"), dict(parse_qsl(parts.query)))
    raise UsageError(
        f"'{url}' is no address of a store.", hint="Give a directory's path, file:///path or s3://bucket/prefix."
    )


def _open_bucket(bucket: str, prefix: str, options: dict[str, str]) -> Store:
    from twinhull.repository.store.s3 import BucketAddress, S3Store  # noqa: PLC0415 - loaded where it is needed

    unknown = options.keys() - {"endpoint", "region"}
    if unknown:
        raise UsageError(f"A bucket has no option '{min(unknown)}'.", hint="Its options are endpoint and region.")
    return S3Store(BucketAddress(bucket, prefix, **options))
