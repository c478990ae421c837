"""A store in a bucket of S3 or of something that speaks it. Credentials come from AWS_… in the environment.

An object's key is ``PREFIX/KIND/NAME``. Creation is a conditional put; a bucket that cannot do that is refused by
``store check``, because two writers could not be told apart there.

Source: Amazon S3 API Reference (PutObject with ``If-None-Match``, ListObjectsV2, HeadObject with object lock headers).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import S3Store as Bucket

from twinhull.repository.errors import ObjectExists, ObjectMissing, StoreError
from twinhull.repository.store.contract import MAX_READ_BYTES, NEVER, ObjectInfo, check_size, checked_name, found_name

CONNECT_SECONDS = "10s"
REQUEST_SECONDS = "300s"
RETRY_SECONDS = 180.0
MAX_RETRIES = 8
FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 15.0
"""What fails for the moment (5xx, lost connections) is tried again by the library, waiting twice as long each time."""
LOOK_SECONDS = 60.0
SIGNED_FOR = timedelta(minutes=5)
_MISSING = (NotFoundError, FileNotFoundError)
"""The library says it in both ways."""


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """Where a bucket is, and how fast it may be used (0: as fast as it can). Without an endpoint it is Amazon's."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = "us-east-1"
    limit_mib_per_second: float = 0.0

    @property
    def url(self) -> str:
        """As ``open_store`` takes it."""
        options = {"endpoint": self.endpoint, "region": self.region, "limit_mib_per_second": self.limit_mib_per_second}
        query = "&".join(f"{name}={value}" for name, value in options.items() if value)
        return f"s3://{self.bucket}/{self.prefix}?{query}"


class S3Store:
    """Objects in a bucket."""

    def __init__(self, address: BucketAddress) -> None:
        self.address = address
        self._is_signed = "AWS_ACCESS_KEY_ID" in os.environ
        options = {"endpoint": address.endpoint} if address.endpoint else {}
        self._bucket = Bucket(
            address.bucket,
            prefix=address.prefix or None,
            region=address.region,
            conditional_put="etag",
            skip_signature=not self._is_signed,
            client_options={
                "allow_http": address.endpoint.startswith("http://"),
                "connect_timeout": CONNECT_SECONDS,
                "timeout": REQUEST_SECONDS,
            },
            retry_config={
                "max_retries": MAX_RETRIES,
                "retry_timeout": timedelta(seconds=RETRY_SECONDS),
                "backoff": {
                    "init_backoff": timedelta(seconds=FIRST_BACKOFF_SECONDS),
                    "max_backoff": timedelta(seconds=MAX_BACKOFF_SECONDS),
                },
            },
            **options,  # type: ignore[arg-type] # the binding's own option names
        )

    @property
    def url(self) -> str:
        """See ``Store.url``."""
        return self.address.url

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        """See ``Store.create``."""
        data = b"".join(parts)
        with self._told("write", name):
            try:
                obstore.put(self._bucket, _key(name), data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                # A put whose answer was lost is repeated by the library, and meets the object that it made itself.
                if not self._holds(name, data):
                    raise ObjectExists(f"The object '{name}' already exists in {self.url}.") from None

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """See ``Store.read``."""
        with self._told("read", name):
            answer = obstore.get(self._bucket, _key(found_name(name)))
            check_size(name, int(answer.meta["size"]), max_bytes)
            return bytes(answer.bytes())

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        """See ``Store.read_range``."""
        key = _key(found_name(name))
        with self._told("read", name):
            try:
                return bytes(obstore.get_range(self._bucket, key, start=offset_bytes, length=length_bytes))
            except _MISSING:
                raise
            except BaseError:
                left = max(self.size(name) - offset_bytes, 0)
                if left >= length_bytes:
                    raise
            if not left:
                return b""
            return bytes(obstore.get_range(self._bucket, key, start=offset_bytes, length=left))

    def size(self, name: str) -> int:
        """See ``Store.size``."""
        with self._told("look at", name):
            return int(obstore.head(self._bucket, _key(found_name(name)))["size"])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ``Store.list``."""
        kind = prefix.partition("-")[0]
        with self._told("list", prefix):
            found = [
                ObjectInfo(str(meta["path"]).rpartition("/")[2], int(meta["size"]))
                for batch in obstore.list(self._bucket, prefix=kind)
                for meta in batch
            ]
        yield from sorted((info for info in found if info.name.startswith(prefix)), key=lambda info: info.name)

    def delete(self, name: str) -> None:
        """See ``Store.delete``."""
        with self._told("delete", name):
            try:
                obstore.delete(self._bucket, _key(name))
            except _MISSING:
                return

    def locked_until(self, name: str) -> datetime | None:
        """See ``Store.locked_until``: what object lock says of the object's present version."""
        if not self._is_signed:  # nobody asks anonymously for what only its owner may know
            return None
        url = obstore.sign(self._bucket, "HEAD", _key(name), SIGNED_FOR)
        try:
            with urlopen(Request(url, method="HEAD"), timeout=LOOK_SECONDS) as answer:  # noqa: S310 - made above
                return _lock_in(answer.headers)
        except HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise StoreError(f"Could not ask {self.url} for the lock of '{name}': {error}.") from error
        except OSError as error:
            raise StoreError(f"Could not ask {self.url} for the lock of '{name}': {error}.") from error

    def sweep(self) -> int:
        """See ``Store.sweep``: a put is whole or nothing, and leaves nothing beside."""
        return 0

    def _holds(self, name: str, data: bytes) -> bool:
        """Whether the object of that name is this one."""
        return self.size(name) == len(data) and self.read(name, len(data)) == data

    @contextmanager
    def _told(self, action: str, name: str) -> Iterator[None]:
        """Say what failed in the repository's words."""
        try:
            yield
        except _MISSING:
            raise ObjectMissing(f"There is no object '{name}' in {self.url}.") from None
        except BaseError as error:
            raise StoreError(f"Could not {action} '{name}' in {self.url}: {str(error).splitlines()[0]}") from error


def _lock_in(headers: Message) -> datetime | None:
    """What the answer says of the object's lock, unless that is over by the server's clock."""
    if headers.get("x-amz-object-lock-legal-hold", "").upper() == "ON":
        return NEVER
    text, date = headers.get("x-amz-object-lock-retain-until-date"), headers.get("date")
    if not text:
        return None
    until = datetime.fromisoformat(text)
    return None if date and parsedate_to_datetime(date) >= until else until


def _key(name: str) -> str:
    return f"{checked_name(name).partition('-')[0]}/{name}"
