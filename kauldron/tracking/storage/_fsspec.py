"""`FsspecStorage`: whatever fsspec reaches, such as S3."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping
from typing import Any

from kauldron._base import extras
from kauldron.tracking.storage import _storage

_URL_SECS = 3600
# A folder that is made there is a bucket, which is not ours to make.
_WITHOUT_FOLDERS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "memory")


@dataclasses.dataclass(frozen=True)
class FsspecStorage(_storage.Storage):
    """Files at a URL that fsspec knows; a `Storage`.

    Attributes:
      place: Such as `s3://bucket/runs`; a bucket has to exist.
      options: For its file system, such as `endpoint_url`, `key` and `secret` of S3. Keys
        that are left out come from the environment, as for other programs.
    """

    place: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    @functools.cached_property
    def _files(self) -> Any:
        extra = "s3" if self._protocol == "s3" else "tracking"
        fsspec = extras.load("fsspec", needed_by=f"Storage {self.place!r}", extra=extra)
        options = dict(self.options)
        if self._protocol == "s3":
            extras.load("s3fs", needed_by=f"Storage {self.place!r}", extra=extra)
        # What another process stores is seen at once.
        options.setdefault("use_listings_cache", False)
        try:
            return fsspec.filesystem(self._protocol, **options)
        except ValueError as e:  # no such protocol
            raise _storage.StorageError(f"Storage {self.place!r}: {e}") from e

    @property
    def _protocol(self) -> str:
        return self.place.partition("://")[0]

    @functools.cached_property
    def _root(self) -> str:
        return self._files._strip_protocol(self.place).rstrip("/")

    def upload(self, path: str | os.PathLike[str], key: str) -> None:
        for file_key, source in _storage.files_of(
            path, _storage.check_key(key)
        ).items():
            with _naming(f"{key!r} cannot be stored in {self.place!r}"):
                target = self._path(file_key)
                if self._protocol not in _WITHOUT_FOLDERS:
                    self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._files.put_file(os.fspath(source), target)

    def download(self, key: str, path: str | os.PathLike[str]) -> None:
        for file_key, target in _storage.targets_of(self._keys(key), key, path).items():
            target.parent.mkdir(parents=True, exist_ok=True)
            with _naming(f"{key!r} cannot be read from {self.place!r}"):
                self._files.get_file(self._path(file_key), os.fspath(target))

    def list(self, folder: str = "") -> list[str]:
        root = self._path(_storage.to_folder(folder))
        with _naming(f"{self.place!r} cannot be listed"):
            try:
                found = self._files.find(root)
            except FileNotFoundError:
                return []
        # Of some file systems, what is asked for is found as a file in itself.
        return sorted(
            x.removeprefix(self._root).lstrip("/") for x in found if x != root
        )

    def exists(self, key: str) -> bool:
        return self._is_file(_storage.check_key(key)) or bool(self.list(key))

    def delete(self, key: str) -> None:
        for file_key in self._keys(key):
            with _naming(f"{key!r} cannot be deleted from {self.place!r}"):
                self._files.rm_file(self._path(file_key))

    def url(self, key: str) -> str:
        if not self._is_file(_storage.check_key(key)):
            raise self._missing(key)
        try:
            return self._files.sign(self._path(key), expiration=_URL_SECS)
        except NotImplementedError:  # nothing to sign with
            return self._files.unstrip_protocol(self._path(key))

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}".rstrip("/")

    def _is_file(self, key: str) -> bool:
        with _naming(f"{self.place!r} cannot be read"):
            return self._files.isfile(self._path(key))

    def _keys(self, key: str) -> list[str]:
        if self._is_file(_storage.check_key(key)):
            return [key]
        if not (keys := self.list(key)):
            raise self._missing(key)
        return keys

    def _missing(self, key: str) -> _storage.StorageError:
        return _storage.missing(key, self.list(), f"The storage {self.place!r}")


@contextlib.contextmanager
def _naming(what: str) -> Iterator[None]:
    """Says what was being done when the file system raises something."""
    try:
        yield
    except _storage.StorageError:
        raise
    except Exception as e:
        raise _storage.StorageError(f"{what}: {type(e).__name__}: {e}") from e
