"""How the database names workdirs: relative to the workspace, where they are inside."""

from __future__ import annotations

import os

from etils import epath

from kauldron._base import shared_files


class Places:
    """Names of workdirs in a database.

    Args:
      root: Folder of the workspace; `None`: names are absolute.
    """

    def __init__(self, root: epath.Path | None) -> None:
        self._root = None if root is None else os.fspath(root)

    def key_of(self, workdir: str) -> str:
        """Returns the name of a workdir, which stays when the workspace is moved."""
        path = absolute(workdir)
        if self._root is None or shared_files.is_remote(path):
            return path
        inside = path.startswith(self._root.rstrip("/") + "/")
        return os.path.relpath(path, self._root) if inside else path

    def path_of(self, key: str) -> str:
        """Returns the path of a workdir."""
        if self._root is None or shared_files.is_remote(key):
            return key
        return os.path.join(self._root, key)


def absolute(workdir: epath.PathLike) -> str:
    """Returns a path that does not depend on the current folder."""
    path = os.fspath(workdir)
    return path.rstrip("/") if shared_files.is_remote(path) else os.path.abspath(path)


def exists(workdir: str) -> bool:
    """Whether a workdir is still there."""
    if shared_files.is_remote(workdir):
        return epath.Path(workdir).exists()
    return os.path.isdir(workdir)
