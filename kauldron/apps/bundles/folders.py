"""Where an app is: its directory, that of its zip, and the apps that are installed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from typing import IO

from kauldron._base import errors
from kauldron.apps.bundles import manifest as manifest_lib
from kauldron.apps.bundles.errors import AppError

# Where installed apps are, unless the variable names a folder.
ENV_VAR = "KAULDRON_APPS"


def apps_folder() -> pathlib.Path:
    """Returns where installed apps are: `~/.local/share/kauldron/apps`."""
    if folder := os.environ.get(ENV_VAR):
        return pathlib.Path(folder)
    data = os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local" / "share"
    return pathlib.Path(data) / "kauldron" / "apps"


def find_app(name_or_path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns where an app is, of a path or of the name of one that is installed.

    Raises:
      AppError: If there is none; names those that are installed.
    """
    path = pathlib.Path(name_or_path)
    if path.exists():
        return path
    installed = {manifest.name: folder for folder, manifest in installed_apps()}
    name = os.fspath(name_or_path)
    if name in installed:
        return installed[name]
    is_listed = path.parent.is_dir() and os.access(path.parent, os.R_OK)
    beside = path.parent.iterdir() if is_listed else ()
    near = [*installed, *(os.fspath(x) for x in beside if manifest_lib.was_app(x))]
    told = f"there are {sorted(installed)}" if installed else "there are none"
    raise AppError(
        f"There is no app at {name!r}, and none of this name is installed: {told}."
        f"{errors.did_you_mean(name, near)}"
    )


def installed_apps(
    folder: str | os.PathLike[str] | None = None,
    *,
    check: bool = False,
    on_damage: Callable[[pathlib.Path, AppError], None] = lambda path, error: None,
) -> list[tuple[pathlib.Path, manifest_lib.Manifest]]:
    """Returns the apps in a folder, by name; what is no app, or damaged, is left out.

    Args:
      folder: That of installed apps unless given.
      check: Whether checksums are compared.
      on_damage: Called for each app that is damaged, with what is wrong.

    Raises:
      AppError: If the folder does not exist.
    """
    root = apps_folder() if folder is None else pathlib.Path(folder)
    if folder is not None and not root.is_dir():
        raise AppError(f"There is no folder {os.fspath(folder)!r}.")
    found = []
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.name.startswith("."):
            continue
        try:
            found.append((path, manifest_lib.read_manifest(path, check=check)))
        except AppError as e:
            if manifest_lib.was_app(path):
                on_damage(path, e)
    return sorted(found, key=lambda item: (item[1].name, item[0]))


def install(path: str | os.PathLike[str], *, overwrite: bool = False) -> pathlib.Path:
    """Copies an app, a directory or a zip, to where it is found by its name.

    Nothing of it is executed, and nothing but its files is copied.

    Raises:
      AppError: If it is damaged, or one of its name is there already.
    """
    manifest = manifest_lib.read_manifest(path)
    root = apps_folder()
    target = root / manifest.name
    if target.exists() and not overwrite:
        raise AppError(
            f"The app {manifest.name!r} is installed already, in {str(target)!r}: "
            "`--overwrite` replaces it."
        )
    root.mkdir(parents=True, exist_ok=True)
    work = pathlib.Path(tempfile.mkdtemp(dir=root, prefix=".installing-"))
    try:
        copy_files(path, manifest, work / manifest.name)
        if target.exists():
            target.rename(work / "before")
        (work / manifest.name).rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


@contextlib.contextmanager
def opened(
    path: str | os.PathLike[str], *, check: bool = True
) -> Iterator[tuple[pathlib.Path, manifest_lib.Manifest]]:
    """Yields the directory of an app and its manifest; a zip is unpacked meanwhile.

    Raises:
      AppError: If there is no app, or it is damaged.
    """
    place = find_app(path)
    manifest = manifest_lib.read_manifest(place, check=check)
    if place.is_dir():
        yield place, manifest
        return
    with tempfile.TemporaryDirectory(prefix="kauldron-app-") as work:
        folder = pathlib.Path(work) / manifest.name
        copy_files(place, manifest, folder)
        yield folder, manifest


def copy_files(
    source: str | os.PathLike[str],
    manifest: manifest_lib.Manifest,
    target: pathlib.Path,
) -> None:
    """Copies the files that a manifest lists, of a directory or a zip, as it has them.

    Raises:
      AppError: If a file is another one than the manifest says.
    """
    place = pathlib.Path(source)
    with contextlib.ExitStack() as stack:
        archive = None
        if not place.is_dir():
            archive = stack.enter_context(zipfile.ZipFile(place))
        for name in (manifest_lib.FILE, *manifest.files):
            file = target / name
            file.parent.mkdir(parents=True, exist_ok=True)
            opened_file = archive.open(name) if archive else (place / name).open("rb")
            with opened_file as f, file.open("wb") as out:
                entry = manifest.files.get(name)
                limit = None if entry is None else entry.bytes
                digest = _copy(f, out, limit)
            if entry is not None and digest != entry.sha256:
                raise AppError(f"{name!r} of the app {str(source)!r} is damaged.")


def pack(folder: pathlib.Path, target: pathlib.Path) -> None:
    """Writes the files of an app to a zip, in the order of its manifest."""
    manifest = manifest_lib.read_manifest(folder, check=False)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (manifest_lib.FILE, *manifest.files):
            # A fixed time: equal apps are equal zips.
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            with (folder / name).open("rb") as f, archive.open(info, "w") as out:
                shutil.copyfileobj(f, out, 2**20)


def _copy(source: IO[bytes], target: IO[bytes], limit: int | None) -> str:
    """Copies a file up to a number of bytes; returns its SHA-256."""
    digest, left = hashlib.sha256(), limit
    while chunk := source.read(2**20 if left is None else min(2**20, left)):
        digest.update(chunk)
        target.write(chunk)
        left = None if left is None else left - len(chunk)
    return digest.hexdigest()
