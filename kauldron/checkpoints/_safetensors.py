"""safetensors import and export: read lazily, written in shards of bounded size."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from kauldron import sharding
from kauldron._base import errors, shared_files
from kauldron.checkpoints import _arrays, _dtype_changes, _dtypes, _errors

SUFFIX = ".safetensors"
_INDEX_SUFFIX = f"{SUFFIX}.index.json"
_METADATA = "__metadata__"


class SafetensorsFiles(Mapping[str, np.ndarray]):
    """The arrays of safetensors files, by name; each is read when it is asked for.

    Needs the extra `kauldron[safetensors]`.

    Args:
      path: A file, an index (`*.safetensors.index.json`), or a folder with either.

    Raises:
      NoCheckpointError: If there is no such file.
      CheckpointError: If a file is not a safetensors file, or the path is empty.
    """

    def __init__(self, path: epath.PathLike) -> None:
        if not os.fspath(path):
            raise _errors.CheckpointError(
                "The path of the safetensors is empty: name a file or a folder."
            )
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
        return self.read({name: None})[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __len__(self) -> int:
        return len(self._file_of)

    def specs(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns shape and dtype of every array; only headers are read."""
        found = {}
        for file, names in self._by_file(self._file_of).items():
            entries = _entries(file)
            for name in names:
                entry = _entry(entries, name, file)
                found[name] = jax.ShapeDtypeStruct(entry.shape, entry.dtype)
        return found

    def read(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Reads arrays; of sharded ones, only the parts needed here.

        Args:
          wanted: Name -> the array to make, with dtype and sharding; `None` makes a
            NumPy array as it was saved.

        Raises:
          CheckpointError: If a dtype is not known, or does not hold the numbers.
        """
        views = self.views(wanted)
        return {name: to_leaf(views[name], leaf, name) for name, leaf in wanted.items()}

    def views(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Returns arrays whose parts are read when they are used."""
        found = {}
        for file, here in self._by_file(names).items():
            entries = _entries(file)
            data = np.memmap(file, np.uint8, mode="r")
            found |= {name: _entry(entries, name, file).view(data) for name in here}
        return found

    def _by_file(self, names: Iterable[str]) -> dict[epath.Path, list[str]]:
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

    Raises:
      CheckpointError: If an array or a name cannot be in such a file; nothing is
        written then.
      OSError: If the file cannot be written; says why.
    """
    path = epath.Path(path)
    if path.suffix != SUFFIX:
        raise _errors.CheckpointError(
            f"The file must be called `*{SUFFIX}`: got {os.fspath(path)!r}."
        )
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        _check_name(name)
        _dtypes.check_safetensors(name, array)
    shards = _split(arrays, max_shard_bytes)
    paths, index = [path], None
    if len(shards) > 1:
        paths = [
            path.with_name(f"{path.stem}-{i:05}-of-{len(shards):05}{SUFFIX}")
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
    for p, shard in zip(paths, shards, strict=True):
        _write(shard, p, metadata=dict(metadata or {}) or None)
    index_path = path.with_name(f"{path.stem}{_INDEX_SUFFIX}")
    if index is None:
        index_path.unlink(missing_ok=True)  # of an export that needed several files
    else:
        with shared_files.replacing(index_path) as part:
            part.write_text(json.dumps(index, indent=1))
    return paths


def _write(
    arrays: Mapping[str, np.ndarray],
    path: epath.Path,
    *,
    metadata: dict[str, str] | None,
) -> None:
    # The package writes raw memory, even if the axes are permuted.
    contiguous = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
    shaped = {name: a.reshape(arrays[name].shape) for name, a in contiguous.items()}
    module = _import()
    try:
        with shared_files.replacing(path) as part:
            part.touch()
            mode = os.stat(part).st_mode
            module.numpy.save_file(shaped, os.fspath(part), metadata=metadata)
            os.chmod(part, mode)  # version 0.8.0 lets nobody but the owner read it
    except (module.SafetensorError, OSError) as e:
        reason = getattr(e, "strerror", None) or e
        if not path.parent.exists():
            reason = f"there is no folder {os.fspath(path.parent)!r}; create it"
        raise _errors.FileWriteError(
            f"{os.fspath(path)!r} could not be written: {reason}."
        ) from e


def _check_name(name: str) -> None:
    if name == _METADATA:
        raise _errors.CheckpointError(
            f"{_METADATA!r} has a meaning of its own in a safetensors file: rename the "
            "array."
        )
    try:
        name.encode()
    except UnicodeEncodeError as e:
        raise _errors.CheckpointError(
            f"The name of an array cannot be written as UTF-8: {name!a}, {e.reason}."
        ) from e


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
        files = sorted(path.glob(f"*{SUFFIX}"))
        if not indices and not files:
            raise _errors.NoCheckpointError(
                f"There is no `*{SUFFIX}` in {os.fspath(path)!r}."
            )
        if len(indices) == 1:
            return _find_files(indices[0])
        return _find_in_each(path, files)
    if not path.exists():
        near = path.parent.iterdir() if path.parent.is_dir() else ()
        hint = errors.did_you_mean(path.name, sorted(p.name for p in near))
        raise _errors.NoCheckpointError(f"There is no {os.fspath(path)!r}.{hint}")
    if path.name.endswith(_INDEX_SUFFIX):
        index = json.loads(path.read_text())["weight_map"]
        return {name: path.parent / file for name, file in index.items()}
    return dict.fromkeys(_entries(path), path)


def _find_in_each(
    folder: epath.Path, files: Sequence[epath.Path]
) -> dict[str, epath.Path]:
    found: dict[str, epath.Path] = {}
    for file in files:
        for name in _entries(file):
            if name in found:
                raise _errors.CheckpointError(
                    f"{name!r} is in two files of {os.fspath(folder)!r}: "
                    f"{found[name].name!r} and {file.name!r}. Say which file."
                )
            found[name] = file
    return found


@dataclasses.dataclass(frozen=True)
class _Entry:
    """Where an array is in a file.

    Attributes:
      name: Of the array.
      dtype_name: Of the array, as the format calls it.
      shape: Of the array.
      start: First byte in the file.
      stop: Byte after the last one.
    """

    name: str
    dtype_name: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def dtype(self) -> np.dtype:
        if self.dtype_name not in _dtypes.SAFETENSORS:
            raise _errors.CheckpointError(
                f"{self.name!r} is saved as {self.dtype_name}, which no dtype of JAX is."
            )
        return _dtypes.SAFETENSORS[self.dtype_name]

    def view(self, data: np.ndarray) -> np.ndarray:
        """Returns the array in a file that is mapped as bytes."""
        return data[self.start : self.stop].view(self.dtype).reshape(self.shape)


def _entries(path: epath.Path) -> dict[str, _Entry]:
    """Returns what the header of a file says.

    The package checks it: sizes, order, overlaps. It does not give arrays of float8 to
    NumPy (0.8.0), so they are read here, where they are in the file.
    """
    module = _import()
    try:
        with module.safe_open(os.fspath(path), framework="np"):
            pass
    except (module.SafetensorError, OSError) as e:
        raise _errors.CheckpointError(
            f"{os.fspath(path)!r} cannot be read as safetensors: {e}."
        ) from e
    with path.open("rb") as f:
        num_bytes = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(num_bytes))
    header.pop(_METADATA, None)
    found = {}
    for name, entry in header.items():
        start, stop = (8 + num_bytes + offset for offset in entry["data_offsets"])
        found[name] = _Entry(name, entry["dtype"], tuple(entry["shape"]), start, stop)
    return found


def _entry(entries: Mapping[str, _Entry], name: str, file: epath.Path) -> _Entry:
    if name not in entries:
        raise _errors.CheckpointError(
            f"The index says that {name!r} is in {os.fspath(file)!r}, and it is not "
            "there: the files are of several exports."
        )
    return entries[name]


def to_leaf(array: np.ndarray, leaf: Any, name: str) -> Any:
    """Returns an array of a file as the kind of thing that a leaf is, see `read`."""
    if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) or _dtype_changes.is_key(
        leaf
    ):
        return _arrays.to_leaf(np.array(array), leaf, name)

    def part(index: Any) -> np.ndarray:
        piece = array[index]
        if piece.dtype != leaf.dtype:
            return _dtype_changes.cast(piece, leaf.dtype, name=name)
        # What is in memory is copied to the device as it is; a file must not stay mapped.
        return np.array(piece, order="C") if isinstance(piece, np.memmap) else piece

    placement = leaf.sharding or sharding.REPLICATED
    # Waits, so that no more than one array is in memory besides those on devices.
    return jax.block_until_ready(
        jax.make_array_from_callback(array.shape, placement, part)
    )


@dataclasses.dataclass(frozen=True)
class _Module:
    """The parts of the package that are used."""

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
