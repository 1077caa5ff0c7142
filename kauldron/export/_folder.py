"""Folders of exported models: they appear when they are complete."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator

from etils import epath

from kauldron.export import _spec
from kauldron.export._errors import ExportError


def check_free(out: epath.Path, *, overwrite: bool) -> None:
    """Finds a folder that must not be written.

    Raises:
      ExportError: If something is there that may not be replaced.
    """
    if out.name in ("", ".."):
        raise ExportError(
            f"{os.fspath(out)!r} cannot be replaced by an exported model: name a new "
            "folder, such as 'digits_export'."
        )
    if not out.exists():
        return
    if not out.is_dir():
        raise ExportError(f"{os.fspath(out)!r} is a file: name a new folder.")
    if not any(out.iterdir()):
        return
    if not overwrite:
        raise ExportError(
            f"{os.fspath(out)!r} is not empty. Choose another folder, or replace what is "
            "there with `overwrite=True` or `--overwrite`."
        )
    if not _spec.is_export(out):
        raise ExportError(
            f"{os.fspath(out)!r} holds something else than an exported model, which is "
            "not deleted. Choose another folder."
        )


@contextlib.contextmanager
def writing(out: epath.Path, *, overwrite: bool) -> Iterator[epath.Path]:
    """Yields a folder beside `out` that takes its place once it is complete."""
    part = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        part.mkdir(parents=True)
        yield part
        check_free(out, overwrite=overwrite)
        old = out.with_name(f"{part.name}.old")
        if out.exists():
            out.rename(old)
        part.rename(out)
        if old.exists():
            old.rmtree()
    except OSError as e:
        raise ExportError(
            f"{os.fspath(out)!r} cannot be written: {e.strerror or e}."
        ) from e
    finally:
        shutil.rmtree(part, ignore_errors=True)
