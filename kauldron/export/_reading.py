"""Reading programs: imports little, so that a new process answers soon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from jax import export

from kauldron.export._errors import ExportError


def deserialize(data: bytes, *, written_by: Mapping[str, Any]) -> export.Exported:
    """Returns a program that was serialised, maybe by another version of JAX.

    Args:
      data: The bytes.
      written_by: Name of a package -> its version when the program was written.

    Raises:
      ExportError: If this JAX cannot read it.
    """
    import_flatbuffers()
    try:
        return export.deserialize(bytearray(data))
    except Exception as e:
        versions = ", ".join(f"{k} {v}" for k, v in written_by.items())
        raise ExportError(
            f"The program cannot be read by jax {jax.__version__}: {type(e).__name__}: "
            f"{str(e).strip().splitlines()[0] if str(e).strip() else 'damaged'}. It was "
            f"written by {versions}: use that jax or a newer one, or export it again."
        ) from e


def import_flatbuffers() -> None:
    """Imports what JAX needs for reading and writing programs.

    Raises:
      ImportError: Names the extra that installs it.
    """
    try:
        import flatbuffers  # noqa: F401  # only whether it is there
    except ImportError as e:
        raise ImportError(
            "Exporting needs the package `flatbuffers`: pip install 'kauldron[export]'."
        ) from e
