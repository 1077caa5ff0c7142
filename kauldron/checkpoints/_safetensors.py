"""safetensors in and out: read lazily, written in shards of a bounded size."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from kauldron import errors
from kauldron.checkpoints import _errors

_SUFFIX = ".safetensors"
_INDEX_SUFFIX = f"{_SUFFIX}.index.json"
_DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "U16": np.uint16,
    "U32": np.uint32,
    "U64": np.uint64,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
    "F8_E4M3": jnp.float8_e4m3fn,
    "F8_E5M2": jnp.float8_e5m2,
}


class SafetensorsFiles(Mapping[str, np.ndarray]):
    """The arrays of safetensors files, by name; each is read when it is asked for.

    Needs the extra `kauldron[safetensors]`.

    Args:
      path: A file, an index (`*.safetensors.index.json`), or a folder with either.

    Raises:
      NoCheckpointError: If there is no such file.
      CheckpointError: If a file is none of safetensors.
    """

    def __init__(self, path: epath.PathLike) -> None:
        self._path = epath.Path(path)
        self._file_of = _find_files(self._path)

    @property
    def name(self) -> str:
        """Where the files are."""
        return os.fspath(self._path)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._file_of:
            raise _errors.CheckpointError(
                f"{self.name!r} holds no {name!r}."
                f"{errors.did_you_mean(name, self._file_of)}"
            )
        with _open(self._file_of[name]) as f:
            return f.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __len__(self) -> int:
        return len(self._file_of)

    def specs(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns shape and dtype of every array; only headers are read."""
        found = {}
        for file, names in self._by_file(self._file_of).items():
            with _open(file) as f:
                for name in names:
                    piece = f.get_slice(name)
                    found[name] = jax.ShapeDtypeStruct(
                        tuple(piece.get_shape()), _DTYPES[piece.get_dtype()]
                    )
        return found

    def read(self, wanted: Mapping[str, jax.ShapeDtypeStruct | None]) -> dict[str, Any]:
        """Reads arrays, of sharded ones the parts that are needed here.

        Args:
          wanted: Name -> the array to make, with dtype and sharding; `None` makes a
            NumPy array as it was saved.
        """
        values = {}
        for file, names in self._by_file(wanted).items():
            with _open(file) as f:
                for name in names:
                    spec = wanted[name]
                    values[name] = (
                        f.get_tensor(name) if spec is None else _place(f, name, spec)
                    )
        return values

    def _by_file(self, names: Mapping[str, Any]) -> dict[epath.Path, list[str]]:
        grouped: dict[epath.Path, list[str]] = {}
        for name in names:
            grouped.setdefault(self._file_of[name], []).append(name)
        return grouped


def save_safetensors(
    arrays: Mapping[str, np.ndarray],
    path: epath.PathLike,
    *,
    max_shard_bytes: int = 5_000_000_000,
    metadata: Mapping[str, str] | None = None,
) -> list[epath.Path]:
    """Writes arrays to one file, or to several and an index if they are too large.

    Needs the extra `kauldron[safetensors]`.

    Args:
      arrays: Name -> array.
      path: The file, `*.safetensors`. Several are called `*-00001-of-00002.safetensors`,
        with the index `*.safetensors.index.json`, as the Hugging Face hub has them.
      max_shard_bytes: How large a file may be, unless one array is larger.
      metadata: Texts that are stored in the header.

    Returns:
      The files.
    """
    path = epath.Path(path)
    if path.suffix != _SUFFIX:
        raise _errors.CheckpointError(
            f"The file must be called `*{_SUFFIX}`: got {os.fspath(path)!r}."
        )
    numpy_io = _import().numpy
    shards = _split(arrays, max_shard_bytes)
    paths = [path]
    if len(shards) > 1:
        paths = [
            path.with_name(f"{path.stem}-{i:05}-of-{len(shards):05}{_SUFFIX}")
            for i in range(1, len(shards) + 1)
        ]
        index = {
            "metadata": {"total_size": sum(a.nbytes for a in arrays.values())},
            "weight_map": {
                name: p.name
                for p, shard in zip(paths, shards, strict=True)
                for name in shard
            },
        }
        index_path = path.with_name(f"{path.stem}{_INDEX_SUFFIX}")
        index_path.write_text(json.dumps(index, indent=1))
    for p, shard in zip(paths, shards, strict=True):
        # It writes memory as it lies, also if the axes are in another order.
        contiguous = {name: np.ascontiguousarray(a) for name, a in shard.items()}
        shaped = {name: a.reshape(shard[name].shape) for name, a in contiguous.items()}
        numpy_io.save_file(shaped, os.fspath(p), metadata=dict(metadata or {}) or None)
    return paths


def _split(
    arrays: Mapping[str, np.ndarray], max_bytes: int
) -> list[dict[str, np.ndarray]]:
    shards: list[dict[str, np.ndarray]] = [{}]
    num_bytes = 0
    for name, array in arrays.items():
        if shards[-1] and num_bytes + array.nbytes > max_bytes:
            shards.append({})
            num_bytes = 0
        shards[-1][name] = array
        num_bytes += array.nbytes
    return shards


def _find_files(path: epath.Path) -> dict[str, epath.Path]:
    """Returns `{name: file}`, whatever the path is."""
    if path.is_dir():
        indices = sorted(path.glob(f"*{_INDEX_SUFFIX}"))
        files = sorted(path.glob(f"*{_SUFFIX}"))
        if not indices and not files:
            raise _errors.NoCheckpointError(
                f"There is no `*{_SUFFIX}` in {os.fspath(path)!r}."
            )
        if len(indices) == 1:
            return _find_files(indices[0])
        found: dict[str, epath.Path] = {}
        for file in files:
            found.update(_find_files(file))
        return found
    if not path.exists():
        near = path.parent.iterdir() if path.parent.is_dir() else ()
        hint = errors.did_you_mean(path.name, sorted(p.name for p in near))
        raise _errors.NoCheckpointError(f"There is no {os.fspath(path)!r}.{hint}")
    if path.name.endswith(_INDEX_SUFFIX):
        index = json.loads(path.read_text())["weight_map"]
        return {name: path.parent / file for name, file in index.items()}
    with _open(path) as f:
        return dict.fromkeys(f.keys(), path)


@contextlib.contextmanager
def _open(path: epath.Path) -> Iterator[Any]:
    module = _import()
    try:
        context = module.safe_open(os.fspath(path), framework="np")
    except (module.SafetensorError, FileNotFoundError) as e:
        raise _errors.CheckpointError(
            f"{os.fspath(path)!r} cannot be read as safetensors: {e}."
        ) from e
    with context as f:
        yield f


def _place(f: Any, name: str, spec: jax.ShapeDtypeStruct) -> jax.Array:
    def part(index: Any) -> np.ndarray:
        value = f.get_slice(name)[index] if spec.shape else f.get_tensor(name)
        return np.asarray(value).astype(spec.dtype)

    return jax.make_array_from_callback(spec.shape, spec.sharding, part)


@dataclasses.dataclass(frozen=True)
class _Module:
    """What is used of the package."""

    numpy: Any
    safe_open: Any
    SafetensorError: Any


def _import() -> _Module:
    try:
        import safetensors
        import safetensors.numpy as numpy_io
    except ImportError as e:
        raise ImportError(
            "safetensors files need the package `safetensors`: "
            "pip install 'kauldron[safetensors]'."
        ) from e
    return _Module(numpy_io, safetensors.safe_open, safetensors.SafetensorError)
