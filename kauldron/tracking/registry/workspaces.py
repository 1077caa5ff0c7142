"""Workspaces: a folder with `kauldron.yaml`, in and below which commands share a registry."""

from __future__ import annotations

import dataclasses
import os

from etils import epath

from kauldron._base import shared_files
from kauldron.tracking.registry import errors
from kauldron.tracking.settings import sources

FOLDER = ".kauldron"
_JOURNAL = "journal.jsonl"
_DATABASE = "registry.db"
# Names a workspace that is not found upwards.
ENV_VAR = "KAULDRON_WORKSPACE"


@dataclasses.dataclass(frozen=True)
class Workspace:
    """A folder in which runs are known by a number, and found by what they are.

    Attributes:
      root: The folder that has `kauldron.yaml`.
    """

    root: epath.Path

    @classmethod
    def find(cls, start: epath.PathLike = ".") -> Workspace | None:
        """Returns the workspace that a folder is in; `None` if it is in none.

        `KAULDRON_WORKSPACE` names it instead, if that is set.

        Args:
          start: The folder; it need not exist.

        Raises:
          RegistryError: If the variable names a folder that is no workspace.
        """
        if named := os.environ.get(ENV_VAR):
            root = epath.Path(named)
            if not (root / sources.FILE).exists():
                raise errors.RegistryError(
                    f"{ENV_VAR}={named!r} is no workspace, as it has no "
                    f"{sources.FILE!r}: `kauldron init {named}` makes it one."
                )
            return cls(epath.Path(os.path.abspath(named)))
        return upwards(start)

    @classmethod
    def create(cls, root: epath.PathLike = ".") -> Workspace:
        """Makes a folder a workspace; one that is a workspace stays as it is.

        Raises:
          RegistryError: If the folder cannot be written.
        """
        workspace = cls(epath.Path(os.path.abspath(root)))
        try:
            workspace.folder.mkdir(parents=True, exist_ok=True)
            _write_new(workspace.folder / ".gitignore", f"{_DATABASE}*\n")
            _write_new(workspace.root / sources.FILE, sources.template())
        except OSError as e:
            raise errors.RegistryError(
                f"{os.fspath(workspace.root)!r} cannot be made a workspace: "
                f"{e.strerror or e}."
            ) from e
        return workspace

    @property
    def folder(self) -> epath.Path:
        """Where the registry is kept."""
        return self.root / FOLDER

    @property
    def settings(self) -> sources.FileSettings:
        """The settings of `kauldron.yaml`, the environment, and defaults."""
        return sources.FileSettings(self.root / sources.FILE)

    @property
    def database(self) -> str:
        """Path or URL of the database."""
        named = self.settings.get("database")
        return str(named) if named else os.fspath(self.default_database)

    @property
    def default_database(self) -> epath.Path:
        """Path of the database unless the settings name another."""
        return self.folder / _DATABASE


def upwards(start: epath.PathLike) -> Workspace | None:
    """Returns the workspace that a folder is, or is in; `None` if there is none."""
    folder = os.path.abspath(start)
    while not is_workspace(folder):
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
    return Workspace(epath.Path(folder))


def opened(folder: epath.PathLike | None) -> Workspace:
    """Returns the workspace of a folder; unless given, the one found upwards.

    Raises:
      RegistryError: If there is none.
    """
    if folder is not None:
        return Workspace(epath.Path(os.path.abspath(folder)))
    found = Workspace.find()
    if found is None:
        raise errors.RegistryError(
            f"There is no workspace in {os.getcwd()!r}, nor above it: `kauldron init` "
            "makes a folder one."
        )
    return found


def journal_path(
    database: epath.Path | None, root: epath.Path | None
) -> epath.Path | None:
    """Returns where the journal of a database is: in the workspace, else beside it."""
    if root is not None:
        return root / FOLDER / _JOURNAL
    if database is None:
        return None
    return database.with_name(f"{database.stem}.{_JOURNAL}")


def is_workspace(folder: epath.PathLike) -> bool:
    """Whether a path is that of a folder that is a workspace."""
    return os.path.isfile(os.path.join(folder, sources.FILE))


def _write_new(path: epath.Path, text: str) -> None:
    if not path.exists():
        shared_files.write_atomically(path, text)
