"""`LocalStorage`: a folder of this machine."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil

from etils import epath

from kauldron._base import shared_files
from kauldron.tracking.storage import _storage

_TEMPORARY = ".tmp"


@dataclasses.dataclass(frozen=True)
class LocalStorage(_storage.Storage):
    """Files in a folder; a `Storage`.

    Attributes:
      folder: Where they are; created with the first file.
    """

    folder: str | os.PathLike[str]

    def upload(self, path: str | os.PathLike[str], key: str) -> None:
        for file_key, source in _storage.files_of(
            path, _storage.check_key(key)
        ).items():
            target = self._path(file_key)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with shared_files.replacing(epath.Path(target)) as temporary:
                    shutil.copyfile(source, temporary)
            except OSError as e:
                raise _storage.StorageError(f"{key!r} cannot be stored: {e}") from e

    def download(self, key: str, path: str | os.PathLike[str]) -> None:
        for file_key, target in _storage.targets_of(self._keys(key), key, path).items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._path(file_key), target)

    def list(self, folder: str = "") -> list[str]:
        root = self._path(_storage.to_folder(folder))
        found = root.rglob("*") if root.is_dir() else ()
        base = pathlib.Path(self.folder)
        return sorted(
            x.relative_to(base).as_posix()
            for x in found
            if x.is_file() and x.suffix != _TEMPORARY
        )

    def exists(self, key: str) -> bool:
        return self._path(_storage.check_key(key)).is_file() or bool(self.list(key))

    def delete(self, key: str) -> None:
        for file_key in self._keys(key):
            path = self._path(file_key)
            path.unlink(missing_ok=True)
            _remove_empty(path.parent, pathlib.Path(self.folder))

    def url(self, key: str) -> str:
        path = self._path(_storage.check_key(key))
        if not path.is_file():
            raise self._missing(key)
        return path.resolve().as_uri()

    def _path(self, key: str) -> pathlib.Path:
        return pathlib.Path(self.folder) / key

    def _keys(self, key: str) -> list[str]:
        if self._path(_storage.check_key(key)).is_file():
            return [key]
        if not (keys := self.list(key)):
            raise self._missing(key)
        return keys

    def _missing(self, key: str) -> _storage.StorageError:
        where = f"The storage {os.fspath(self.folder)!r}"
        return _storage.missing(key, self.list(), where)


def _remove_empty(folder: pathlib.Path, root: pathlib.Path) -> None:
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
