"""`spec.json`: what an exported folder holds, for programs and people."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from kauldron.export._errors import ExportError

FORMAT = "kauldron.export"
VERSION = 1
FILE = "spec.json"
WEIGHTS_FILE = "weights.safetensors"
README_FILE = "README.md"
PROGRAM_FILES = {"stablehlo": "model.stablehlo", "onnx": "model.onnx"}

_PACKAGES = ("kauldron", "jax", "jaxlib", "flax")


def array_spec(array: Any) -> dict[str, Any]:
    """Returns shape and dtype of an array, as JSON has it; symbolic sizes are texts."""
    shape = [n if isinstance(n, int) else str(n) for n in array.shape]
    return {"shape": shape, "dtype": str(array.dtype)}


def arrays_spec(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns name -> shape and dtype of arrays, as JSON has it."""
    return {name: array_spec(array) for name, array in arrays.items()}


def inputs_spec(
    inputs: Mapping[str, jax.ShapeDtypeStruct],
    ranges: Mapping[str, tuple[float, float]],
) -> dict[str, Any]:
    """Returns name -> shape, dtype and range of the inputs, as JSON has it."""
    spec = arrays_spec(inputs)
    for name, (low, high) in ranges.items():
        spec[name]["range_in_a_batch"] = [low, high]
    return spec


def ranges_of(inputs: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Returns name -> least and greatest value of arrays of numbers."""
    return {
        name: (float(x.min()), float(x.max()))
        for name, x in inputs.items()
        if x.size and x.dtype != np.bool_ and not np.iscomplexobj(x)
    }


def versions() -> dict[str, str]:
    """Returns name -> version of the packages that make a program what it is."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # imported from a folder that is not installed
    return found


def file_entry(path: epath.Path) -> dict[str, Any]:
    """Returns name, size and hash of a file, so that files of two exports don't mix."""
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while chunk := f.read(2**20):
            digest.update(chunk)
    num_bytes = path.stat().length
    return {"file": path.name, "bytes": num_bytes, "sha256": digest.hexdigest()}


def is_export(folder: epath.Path) -> bool:
    """Whether a folder holds an export."""
    try:
        read(folder)
    except ExportError:
        return False
    return True


def read(folder: epath.Path) -> dict[str, Any]:
    """Returns the spec of a folder.

    Raises:
      ExportError: If there is none, it is damaged, or of another version.
    """
    path = folder / FILE
    try:
        spec = json.loads(path.read_text())
        name, version = spec["format"], spec["version"]
    except FileNotFoundError as e:
        raise ExportError(
            f"There is no exported model in {os.fspath(folder)!r}: `{FILE}` is missing."
        ) from e
    except (ValueError, TypeError, KeyError, OSError) as e:
        raise ExportError(
            f"{os.fspath(path)!r} is not the `{FILE}` of an exported model, or damaged: "
            f"{type(e).__name__}: {e}."
        ) from e
    if name != FORMAT or version != VERSION:
        raise ExportError(
            f"{os.fspath(path)!r} is of {name} version {version!r}; this is {FORMAT} "
            f"version {VERSION}. Load it with the kauldron that wrote it "
            f"({spec.get('versions', {}).get('kauldron', 'unknown')}), or export it again."
        )
    return spec


def check_file(folder: epath.Path, entry: Mapping[str, Any]) -> epath.Path:
    """Returns the path of a file that is as it was written.

    Raises:
      ExportError: If it is missing or has changed.
    """
    path = folder / entry["file"]
    if not path.exists():
        raise ExportError(f"{os.fspath(path)!r} is missing: copy the whole folder.")
    if file_entry(path) != dict(entry):
        raise ExportError(
            f"{os.fspath(path)!r} is not the file that was exported: its size or hash "
            "differs. Copy the whole folder again."
        )
    return path
