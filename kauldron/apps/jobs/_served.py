"""The apps that a server has, by name."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping

from kauldron._base import errors
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.bundles.manifest import Manifest, read_manifest


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServedApp:
    """An app that a server has.

    Attributes:
      path: Where it is.
      manifest: What it says about itself, as it was when the server started.
    """

    path: pathlib.Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """As clients call it."""
        return self.manifest.name

    def is_readable(self) -> bool:
        """Whether it is still there, and still the same."""
        try:
            return read_manifest(self.path, check=False) == self.manifest
        except (AppError, OSError):
            return False


def read_apps(paths: Iterable[str | os.PathLike[str]]) -> dict[str, ServedApp]:
    """Returns the apps at some paths, by name; all their files are checked.

    Raises:
      AppError: If there is none, one is damaged, needs code that would have to be
        trusted, or two have one name.
    """
    found: dict[str, ServedApp] = {}
    for path in paths:
        app = ServedApp(
            path=pathlib.Path(path).absolute(), manifest=read_manifest(path)
        )
        app.manifest.check_trusted("infer")
        if app.name in found:
            raise AppError(
                f"Two apps are called {app.name!r}: {str(found[app.name].path)!r} and "
                f"{str(app.path)!r}. Serve one of them, or bundle one under another name."
            )
        found[app.name] = app
    if not found:
        raise AppError("Say which apps are served: `--apps=digits_app,brain_app`.")
    return found


def check_known(names: Iterable[str], apps: Mapping[str, ServedApp], flag: str) -> None:
    """Raises `AppError` if a name is not that of an app."""
    for name in names:
        if name not in apps:
            raise AppError(
                f"`{flag}` names apps that are served: got {name!r}, there are "
                f"{list(apps)}.{errors.did_you_mean(name, apps)}"
            )
