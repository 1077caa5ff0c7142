"""`Storage`: where files of runs are kept, under keys such as `runs/12/model.npz`."""

from __future__ import annotations

import os
import pathlib
from typing import Protocol, runtime_checkable

from kauldron._base import errors


class StorageError(errors.UserError, OSError):
    """A key, a file or a storage that does not exist or cannot be used."""


@runtime_checkable
class Storage(Protocol):
    """A place for files, by key.

    A key is a relative path with `/`, of one file, or of a folder of files.
    """

    def upload(self, path: str | os.PathLike[str], key: str) -> None:
        """Stores a file, or all files of a folder; replaces what has the key.

        A reader sees the old or the new file, never a part.

        Raises:
          StorageError: If there is no such file, or the storage does not take it.
        """

    def download(self, key: str, path: str | os.PathLike[str]) -> None:
        """Writes a file, or all files of a folder, to `path`.

        Raises:
          StorageError: If nothing has the key; names the nearest that exists.
        """

    def list(self, folder: str = "") -> list[str]:
        """Returns the keys of all files in a folder and below, sorted."""
        ...

    def exists(self, key: str) -> bool:
        """Whether it is the key of a file, or of a folder that has one."""
        ...

    def delete(self, key: str) -> None:
        """Deletes a file, or all files of a folder.

        Raises:
          StorageError: If nothing has the key.
        """

    def url(self, key: str) -> str:
        """Returns where other programs can read a file.

        Raises:
          StorageError: If there is no such file.
        """
        ...


def check_key(key: str) -> str:
    """Returns a key.

    Raises:
      StorageError: If it leads out of the storage, or names nothing.
    """
    parts = key.split("/")
    if not key or "\\" in key or any(part in ("", ".", "..") for part in parts):
        raise StorageError(
            f"A key is a relative path such as 'runs/12/model.npz': got {key!r}."
        )
    return key


def to_folder(key: str) -> str:
    """Returns the key of a folder; `""` is all of the storage."""
    return check_key(key) if (key := key.rstrip("/")) else ""


def files_of(path: str | os.PathLike[str], key: str) -> dict[str, pathlib.Path]:
    """Returns the files to store, by key: one, or those of a folder.

    Raises:
      StorageError: If there is nothing to store.
    """
    source = pathlib.Path(path)
    if source.is_dir():
        files = sorted(x for x in source.rglob("*") if x.is_file())
        if not files:
            raise StorageError(f"The folder {os.fspath(source)!r} has no files.")
        return {f"{key}/{x.relative_to(source).as_posix()}": x for x in files}
    if not source.exists():
        raise StorageError(f"There is no file {os.fspath(source)!r} to upload.")
    return {key: source}


def targets_of(
    keys: list[str], key: str, path: str | os.PathLike[str]
) -> dict[str, pathlib.Path]:
    """Returns where the files of a key are to be written, by their keys."""
    target = pathlib.Path(path)
    return {k: target / k.removeprefix(key).lstrip("/") for k in keys}


def missing(key: str, known: list[str], where: str) -> StorageError:
    """Returns the error that nothing has a key."""
    return StorageError(
        f"{where} has no {key!r}.{errors.did_you_mean(key, known)} It holds "
        f"{len(known)} files."
    )
