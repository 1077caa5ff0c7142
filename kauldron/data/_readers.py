"""Reading records by index, in bulk where the source supports it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kauldron.data import _columns, _errors, _nodes, _thread_turns

if TYPE_CHECKING:
    from kauldron.ktyping import PyTree


def reader_for(data_source: Any, owner: str = "") -> _nodes.Reader:
    """Returns what reads a random access source, an array, or a dict of arrays.

    Args:
      data_source: The source.
      owner: Whose it is, for messages.

    Raises:
      DataError: If it is none of these, or empty.
    """
    reader = _reader_for(data_source)
    if len(reader) == 0:
        raise _errors.DataError(
            f"The data source is empty: {owner and f'{owner}, '}"
            f"{_describe(data_source)}. Check its path, split or filter."
        )
    return reader


def _reader_for(data_source: Any) -> _nodes.Reader:
    if isinstance(data_source, _nodes.Reader):
        return data_source
    if isinstance(data_source, np.ndarray | Mapping):
        return ColumnsReader(data_source)
    if not (hasattr(data_source, "__len__") and hasattr(data_source, "__getitem__")):
        raise _errors.DataError(
            "A data source has `__len__()` and `__getitem__(index)`: got "
            f"{_describe(data_source)}. A list works, and a dict of arrays."
        )
    if hasattr(data_source, "draw_example"):
        return _DrawnReader(data_source)
    if hasattr(data_source, "__getitems__"):
        return _BulkReader(data_source)
    return _ItemReader(data_source)


class ColumnsReader(_nodes.Reader):
    """Rows of arrays held in memory, or mapped from files.

    Args:
      arrays: An array, or nested dicts of arrays, with one leading axis of rows.

    Raises:
      DataError: If their lengths differ; names them.
    """

    def __init__(self, arrays: PyTree) -> None:
        self._arrays = _as_arrays(arrays)
        lengths = dict(_lengths(self._arrays, ""))
        if len(set(lengths.values())) != 1:
            raise _errors.DataError(
                "The arrays must have equally many rows: got "
                f"{lengths or 'no arrays'}. The first axis counts examples."
            )
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._length

    @property
    def num_bytes(self) -> int:
        return _num_bytes(self._arrays)

    def read(self, indices: np.ndarray) -> _columns.Column:
        return _take(self._arrays, indices)


class _ItemReader(_nodes.Reader):
    def __init__(self, source: Any) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    @property
    def num_bytes(self) -> int:
        if not isinstance(self._source, list | tuple):
            return 0  # most other sources read files
        return len(pickle.dumps(self._source[0])) * len(self._source)

    @property
    def reads_singly(self) -> bool:
        return True

    def read(self, indices: np.ndarray) -> _columns.Column:
        wanted = indices.tolist()
        return _one_by_one(
            self._source.__getitem__, [(index,) for index in wanted], self._source
        )


class _DrawnReader(_nodes.Reader):
    """Of a source whose examples are drawn anew in every epoch."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    @property
    def num_bytes(self) -> int:
        return getattr(self._source, "num_bytes", 0)

    @property
    def blocks(self) -> tuple[np.ndarray | None, int]:
        return getattr(self._source, "blocks", (None, 0))

    @property
    def reads_singly(self) -> bool:
        return True

    def read(self, indices: np.ndarray) -> _columns.Column:
        return self.read_drawn(indices, np.zeros_like(indices), seed=0)

    def read_drawn(
        self, indices: np.ndarray, epochs: np.ndarray, seed: int
    ) -> _columns.Column:
        pairs = zip(indices.tolist(), epochs.tolist(), strict=True)
        wanted = [(index, seed % 2**64, epoch) for index, epoch in pairs]
        return _one_by_one(self._source.draw_example, wanted, self._source)


class _BulkReader(_nodes.Reader):
    def __init__(self, source: Any) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def read(self, indices: np.ndarray) -> _columns.Column:
        try:
            wanted = indices.tolist()
            records = self._source.__getitems__(wanted)
        except Exception:
            # One by one: the error then names the record. If none fails, the source
            # cannot read in bulk, as those of `tfds.testing.mock_data`.
            return _ItemReader(self._source).read(indices)
        return _columns.from_rows(records, name_row=_name_row(wanted))


def _one_by_one(
    get: Callable[..., Any], wanted: list[tuple[int, ...]], source: object
) -> _columns.Column:
    """Returns records, each got by an index and what else it depends on."""
    records: list[Any] = []
    give_way = _thread_turns.of_this_thread()
    try:
        for arguments in wanted:
            records.append(get(*arguments))
            if give_way is not None:
                give_way()
    except Exception as error:
        index = wanted[len(records)][0]
        error.add_note(f"While reading example {index} of {_describe(source)}.")
        raise
    indices = [index for index, *_ in wanted]
    return _columns.from_rows(records, name_row=_name_row(indices))


def _name_row(indices: list[int]) -> _columns.NameRow:
    return lambda row: f"example {indices[row]}"


def _take(arrays: PyTree, indices: np.ndarray) -> Any:
    if type(arrays) is dict:
        return {key: _take(child, indices) for key, child in arrays.items()}
    taken = arrays.take(indices, axis=0)
    return taken if taken.dtype.isnative else _columns.in_native_order(taken)


def _num_bytes(arrays: PyTree) -> int:
    if type(arrays) is dict:
        return sum(_num_bytes(child) for child in arrays.values())
    return arrays.nbytes


def _as_arrays(tree: PyTree) -> Any:
    if isinstance(tree, Mapping):
        return {key: _as_arrays(child) for key, child in tree.items()}
    if isinstance(tree, tuple | list) and any(hasattr(x, "shape") for x in tree):
        raise _errors.DataError(
            "Arrays are named by the keys of a dict: got a "
            f"{type(tree).__name__} of arrays. Write `{{'image': ..., 'label': ...}}`."
        )
    array = np.asanyarray(tree)  # keeps memory maps
    if array.dtype.type is np.void:
        raise _errors.DataError(
            f"An array has the dtype {array.dtype}: "
            + (
                "a structured one. Give one array for each field."
                if array.dtype.names
                else "raw bytes, as NumPy saves dtypes that it does not know, such as "
                "bfloat16. Save float32, or give `array.view(dtype)`."
            )
        )
    if array.ndim == 0:
        raise _errors.DataError(
            f"Every array needs a first axis that counts examples: got {tree!r}."
        )
    return array


def _lengths(tree: PyTree, path: str) -> list[tuple[str, int]]:
    if type(tree) is dict:
        return [
            item
            for key, child in tree.items()
            for item in _lengths(child, f"{path}.{key}" if path else str(key))
        ]
    return [(path or "the array", len(tree))]


def _describe(source: object) -> str:
    if isinstance(source, list | tuple | Mapping | np.ndarray):
        return f"a {type(source).__name__} of {len(source)}"
    text = repr(source)
    return text if len(text) <= 200 else f"a `{type(source).__name__}`"
