"""`load`: an exported folder as a function of NumPy or JAX arrays."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from kauldron import checkpoints, kontext
from kauldron._base import errors
from kauldron.export import _reading, _spec
from kauldron.export._errors import ExportError
from kauldron.ktyping import Array, PRNGKeyArray, PyTree


def load(folder: epath.PathLike, *, weights: epath.PathLike | None = None) -> Exported:
    """Returns an exported model, ready to be called.

    Args:
      folder: As `kd.export.export` or `kauldron export` wrote it.
      weights: A file of `save_weights` that takes the place of the folder's.

    Raises:
      ExportError: If there is none, a file of it is missing or has changed, or this JAX
        cannot run it.
    """
    folder = epath.Path(folder)
    spec = _spec.read(folder)
    entry = spec["program"]
    if entry["format"] != "stablehlo":
        raise ExportError(
            f"{os.fspath(folder)!r} holds a program in {entry['format']}, which its "
            "README says how to run; `load` is for those in StableHLO."
        )
    _check_version(entry["calling_convention_version"], spec["versions"])
    program = _reading.deserialize(
        _spec.check_file(folder, entry["file"]).read_bytes(),
        written_by=spec["versions"],
    )
    if weights is None:
        weights = _spec.check_file(folder, spec["weights"]["file"])
    model = Exported(spec, program, {})
    model.weights = model.read_weights(weights)
    return model


def _check_version(version: int, versions: Mapping[str, str]) -> None:
    low = jax.export.minimum_supported_calling_convention_version
    high = jax.export.maximum_supported_calling_convention_version
    if not low <= version <= high:
        raise ExportError(
            f"The program has calling convention {version}, jax {jax.__version__} reads "
            f"{low} to {high}: it was written by jax {versions.get('jax', 'unknown')}. "
            f"{'Use a newer jax' if version > high else 'Export it again'}."
        )


class Exported:
    """An exported model: `model(inputs)` returns name -> prediction.

    Args:
      spec: What is in `spec.json`.
      program: The program.
      weights: Name -> array.

    Attributes:
      spec: What is in `spec.json`.
      weights: Name -> array; those of another training of the model may take their place.
    """

    def __init__(
        self, spec: Mapping[str, Any], program: jax.export.Exported, weights: Any
    ) -> None:
        self.spec = spec
        self.weights = weights
        self._program = program

    def __call__(
        self, inputs: PyTree, *, key: PRNGKeyArray[""] | None = None
    ) -> dict[str, Array]:
        """Returns the predictions for a batch.

        Args:
          inputs: Name -> array, as the spec says; a batch of the run may hold more.
          key: Where random numbers come from, if the model draws any.

        Raises:
          ExportError: If an input is missing, or has another shape or dtype.
        """
        if self.spec["key"] is None:
            return self._call(self.weights, self._named(inputs))
        if key is None:
            raise ExportError(
                "The model draws random numbers: give `key=jax.random.key(0)`."
            )
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            key = jax.random.key_data(key)
        return self._call(self.weights, self._named(inputs), key)

    def read_weights(self, path: epath.PathLike) -> dict[str, Any]:
        """Returns the weights that it takes, of a file that may have more.

        Args:
          path: A file, as `save_weights` writes it.

        Raises:
          CheckpointError: If the file lacks one, or is damaged.
        """
        args, _ = jax.tree.unflatten(self._program.in_tree, self._program.in_avals)
        files = checkpoints.SafetensorsFiles(path)
        return jax.device_put(files.read(dict.fromkeys(args[0])))

    @functools.cached_property
    def _call(self) -> Any:
        return jax.jit(self._program.call)

    def _named(self, inputs: PyTree) -> dict[str, Any]:
        given = inputs if isinstance(inputs, Mapping) else {}
        if any(name not in given for name in self.spec["inputs"]):
            given = {**kontext.flatten_with_path(inputs), **given}
        named = {}
        for name, entry in self.spec["inputs"].items():
            if name not in given:
                raise ExportError(
                    f"The input {name!r} is missing: there are {sorted(given)}."
                    f"{errors.did_you_mean(name, given)}"
                )
            named[name] = given[name]
            _check_input(name, given[name], entry)
        return named


# NumPy makes the text anew each time, which takes long beside a small program.
_dtype_name = functools.cache(str)


def _check_input(name: str, array: Any, entry: Mapping[str, Any]) -> None:
    shape, dtype = np.shape(array), _dtype_name(array.dtype)
    fits = len(shape) == len(entry["shape"]) and all(
        isinstance(wanted, str) or size == wanted
        for size, wanted in zip(shape, entry["shape"], strict=True)
    )
    if not fits or dtype != entry["dtype"]:
        wanted = " ".join(map(str, entry["shape"]))
        raise ExportError(
            f"The input {name!r} must be {entry['dtype']}[{wanted}]: got "
            f"{dtype}[{' '.join(map(str, shape))}]."
        )
