"""Programs as serialised StableHLO, written and read by `jax.export`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax import export

from kauldron._base import errors
from kauldron.export import _measure, _reading, _spec
from kauldron.export._errors import ExportError
from kauldron.export._program import Program
from kauldron.ktyping import Array

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")

# MLIR bytecode begins with its magic number, a version, and who wrote it.
_PRODUCER = re.compile(rb"StableHLO_v([\d.]+)")


def check_platforms(platforms: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of the platforms.

    Raises:
      ExportError: If there are none, or one is not known.
    """
    named = (platforms,) if isinstance(platforms, str) else tuple(platforms)
    for name in named:
        if name not in PLATFORMS:
            near = " Did you mean 'cuda'?" if name == "gpu" else ""
            raise ExportError(
                f"`platforms` are some of {list(PLATFORMS)}: got {name!r}."
                f"{near or errors.did_you_mean(name, PLATFORMS)}"
            )
    if not named:
        raise ExportError(f"`platforms` is empty: name some of {list(PLATFORMS)}.")
    return named


def lower(
    function: Any,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    platforms: Sequence[str],
) -> export.Exported:
    """Returns a jitted function for some platforms; nothing is compiled.

    Args:
      function: The function.
      arguments: Specs of its arguments.
      keywords: Specs of its arguments by name.
      platforms: Names.

    Raises:
      ExportError: If something in it is not portable; names the platforms it is for.
    """
    _reading.import_flatbuffers()

    def attempt(names: Sequence[str]) -> export.Exported:
        return export.export(function, platforms=names)(*arguments, **keywords)

    try:
        exported = attempt(platforms)
    except errors.UserError:
        raise
    except Exception as e:
        able = [p for p in platforms if len(platforms) > 1 and _works(attempt, p)]
        hint = f" It can be for {', '.join(able)}: name only these." if able else ""
        raise ExportError(
            f"The program cannot be written for {', '.join(platforms)}: "
            f"{type(e).__name__}: {str(e).strip().splitlines()[0]}.{hint}"
        ) from e
    return exported


def _works(attempt: Callable[[Sequence[str]], export.Exported], platform: str) -> bool:
    try:
        attempt([platform])
    except Exception as e:
        del e
        return False
    return True


def serialize(exported: export.Exported, *, vjp_order: int = 0) -> bytes:
    """Returns a program as bytes.

    Raises:
      ExportError: If its outputs are in containers that no other program knows.
    """
    try:
        return bytes(exported.serialize(vjp_order=vjp_order))
    except ValueError as e:
        raise ExportError(
            f"The program cannot be serialised: {str(e).strip().splitlines()[0]}. Return "
            "dicts, lists and tuples of arrays."
        ) from e


def stablehlo_version(exported: export.Exported) -> str:
    """Returns the version of StableHLO that a program needs; `'unknown'` if not said."""
    found = _PRODUCER.search(exported.mlir_module_serialized[:64])
    return found[1].decode() if found else "unknown"


class Built:
    """A program as StableHLO, ready to be compared and written.

    Args:
      program: The program.
      weights: Name -> array, as trained.
      stored: Name -> array, as it is written.
      platforms: Names.

    Attributes:
      outputs: Name -> shape and dtype.
      versions: What the program was made with, beside the packages.
    """

    def __init__(
        self,
        program: Program,
        weights: Mapping[str, Array],
        stored: Mapping[str, Array],
        platforms: Sequence[str],
    ) -> None:
        self._program, self._weights, self._stored = program, weights, stored
        specs = {k: jax.ShapeDtypeStruct(x.shape, x.dtype) for k, x in stored.items()}
        arguments = program.arguments(specs)
        self._exported = lower(program.jitted(), arguments, {}, platforms)
        self._bytes = serialize(self._exported)
        avals = self._exported.out_avals
        self.outputs = jax.tree.unflatten(self._exported.out_tree, avals)
        self.versions = {"stablehlo": stablehlo_version(self._exported)}

    def compare(self, inputs: Mapping[str, Array]) -> dict[str, _measure.Difference]:
        """Returns how far predictions are from the model's, where it can run here."""
        if jax.default_backend() not in _runs_here(self._exported.platforms):
            return {}
        key = (np.zeros(2, np.uint32),) if self._program.takes_key else ()
        read_back = _reading.deserialize(self._bytes, written_by=self.versions)
        expected = _measure.run(self._program, self._weights, inputs, *key)
        actual = _measure.run(read_back.call, self._stored, inputs, *key)
        found = _measure.differences(expected, actual)
        _measure.check(found)
        return found

    def write(self, folder: epath.Path) -> dict[str, Any]:
        """Writes the program; returns what the spec says of it."""
        path = folder / _spec.PROGRAM_FILES["stablehlo"]
        path.write_bytes(self._bytes)
        version = self._exported.calling_convention_version
        return {
            "format": "stablehlo",
            "file": _spec.file_entry(path),
            "platforms": list(self._exported.platforms),
            "calling_convention_version": version,
        }


def _runs_here(platforms: Sequence[str]) -> set[str]:
    """Returns the backends of JAX that run programs for some platforms."""
    return {"gpu" if name in ("cuda", "rocm") else name for name in platforms}
