"""Pipeline stages: transforms of blocks of rows, on whole columns where possible."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from kauldron.data import _columns, _draws, _errors, _foreign_transforms, _thread_turns
from kauldron.data.transforms import base


@dataclasses.dataclass(slots=True)
class Block:
    """Some rows on their way through the transforms.

    Attributes:
      columns: Their values, see `_columns`.
      positions: Their places in the endless order of the pipeline, `i64[n]`.
      ids: What their random numbers depend on.
      examples: Their indices in the source, `i64[n]`, for messages.
      bad_records: What was wrong with records that were skipped.
    """

    columns: _columns.Column
    positions: np.ndarray
    ids: _draws.ExampleIds
    examples: np.ndarray
    bad_records: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.positions)

    def name_row(self, index: int) -> str:
        """Returns what a row is called in messages."""
        return f"example {int(self.examples[index])}"

    def with_columns(self, columns: _columns.Column) -> Block:
        """Returns the same rows with other values."""
        return Block(columns, self.positions, self.ids, self.examples, self.bad_records)

    def select(self, indices: np.ndarray | slice) -> Block:
        """Returns some of the rows."""
        return Block(
            _columns.select(self.columns, indices),
            self.positions[indices],
            self.ids[indices],
            self.examples[indices],
            self.bad_records,
        )

    @classmethod
    def concatenate(cls, blocks: Sequence[Block]) -> Block:
        """Returns the rows of all blocks, at least one."""
        if len(blocks) == 1:
            return blocks[0]
        filled = [block for block in blocks if len(block)] or blocks[:1]
        return cls(
            _columns.concatenate([block.columns for block in filled]),
            np.concatenate([block.positions for block in filled]),
            _draws.ExampleIds.concatenate([block.ids for block in filled]),
            np.concatenate([block.examples for block in filled]),
            tuple(text for block in blocks for text in block.bad_records),
        )


@dataclasses.dataclass(frozen=True)
class Place:
    """Which transform of a pipeline it is; as text, how an error begins.

    Attributes:
      position: In the list of transforms.
      name: Of its class, or of the function.
    """

    position: int
    name: str

    def __str__(self) -> str:
        return f"In transform #{self.position}, `{self.name}`"


class Stage(Protocol):
    """One transform, ready to run."""

    where: Place
    drops_rows: bool

    def __call__(self, block: Block) -> Block: ...


def split_transforms(transforms: Any) -> tuple[list[Any], list[Any]]:
    """Returns the transforms of elements, and those of whole batches at the end.

    Raises:
      DataError: If something follows a batch transform, or is not a transform.
    """
    if isinstance(transforms, Mapping):
        transforms = list(transforms.values())
    if not isinstance(transforms, Sequence) or isinstance(transforms, str):
        raise _errors.DataError(
            "`transforms` is a list, or a dict from names to transforms: got "
            f"{type(transforms).__name__}."
        )
    of_elements: list[Any] = []
    of_batches: list[Any] = []
    for transform in transforms:
        if isinstance(transform, base.BatchTransform):
            of_batches.append(transform)
        elif of_batches:
            raise _errors.DataError(
                f"`{_name(transform)}` changes single elements, but comes after "
                f"`{_name(of_batches[-1])}`, which changes whole batches. Move it in "
                "front."
            )
        else:
            of_elements.append(transform)
    return of_elements, of_batches


@dataclasses.dataclass(frozen=True)
class Regrouping:
    """A chunk transform: no stage of a row, but a place where rows become others."""

    transform: base.ChunkTransform
    where: Place

    def run(self, block: Block) -> list[Any]:
        """Returns the elements that a chunk gives."""
        try:
            return list(self.transform.map_chunk(_columns.rows(block.columns)))
        except Exception as error:
            first, last = int(block.examples[0]), int(block.examples[-1])
            error.add_note(
                f"{self.where}. The chunk has {len(block)} elements, from example {first} "
                f"to example {last} in their order."
            )
            raise


def build(transforms: Iterable[Any]) -> list[Stage]:
    """Returns the stages of element transforms, where there are no chunks.

    Raises:
      DataError: If one is not a transform, or a chunk transform.
    """
    stages = build_all(transforms)
    for stage in stages:
        if isinstance(stage, Regrouping):
            raise _errors.DataError(
                f"{stage.where}: a chunk transform needs the examples of a pipeline."
            )
    return [stage for stage in stages if not isinstance(stage, Regrouping)]


def build_all(transforms: Iterable[Any]) -> list[Stage | Regrouping]:
    """Returns the stages of element transforms, and where chunk transforms stand.

    Raises:
      DataError: If one is not a transform.
    """
    occurrences: collections.Counter[str] = collections.Counter()
    stages: list[Stage | Regrouping] = []
    for position, transform in enumerate(transforms):
        name = _name(transform)
        # The n-th transform of a name: others can be added without changing its numbers.
        salt = f"{name}/{occurrences[name]}"
        occurrences[name] += 1
        where = Place(position, name)
        if isinstance(transform, base.ChunkTransform):
            stages.append(Regrouping(transform, where))
        else:
            stages.append(_build_one(transform, salt, where))
    return stages


def _build_one(transform: Any, salt: str, where: Place) -> Stage:
    if isinstance(transform, base.FilterTransform):
        return _Filter(transform.filter, where)
    if isinstance(transform, base.RandomMapTransform):
        if hasattr(transform, "random_columns") and base.overrides_together(
            transform, "random_columns", "random_map_element"
        ):
            return _RandomColumns(transform, salt, where)
        return _RandomMap(transform.random_map, salt, where)
    if isinstance(transform, base.MapTransform):
        if base.overrides_together(transform, "map_columns", "map"):
            return _MapColumns(transform, where)
        return _Map(transform.map, where)
    kind, function = _foreign_transforms.kind_of(transform)
    if kind == "map":
        return _Map(function, where)
    if kind == "filter":
        return _Filter(function, where)
    if kind == "random_map":
        return _RandomMap(function, salt, where)
    if kind == "map_with_index":
        return _MapWithIndex(function, where)
    raise _errors.DataError(
        f"{where}: {transform!r} is no transform. Use a `kd.data` transform, a grain "
        "transform, or a function of one element."
    )


@dataclasses.dataclass
class _Map:
    function: Callable[[Any], Any]
    where: Place
    drops_rows: bool = False

    def __call__(self, block: Block) -> Block:
        rows = _columns.rows(block.columns)
        changed = _each_row(self.function, rows, block, self.where)
        return block.with_columns(_from_rows(changed, block, self.where))


@dataclasses.dataclass
class _MapColumns:
    transform: Any
    where: Place
    drops_rows: bool = False

    def __call__(self, block: Block) -> Block:
        if type(block.columns) is not dict:  # `map` says what it expects
            return _Map(self.transform.map, self.where)(block)
        try:
            columns = self.transform.map_columns(block.columns, len(block))
        except Exception as error:
            # Once more row by row: the message names the example.
            _each_row(
                self.transform.map, _columns.rows(block.columns), block, self.where
            )
            error.add_note(f"{self.where}.")
            raise
        return block.with_columns(columns)


@dataclasses.dataclass
class _Filter:
    function: Callable[[Any], bool]
    where: Place
    drops_rows: bool = True

    def __call__(self, block: Block) -> Block:
        rows = _columns.rows(block.columns)
        keep = _each_row(self.function, rows, block, self.where)
        kept = np.flatnonzero(np.asarray(keep, dtype=bool))
        return block if len(kept) == len(block) else block.select(kept)


@dataclasses.dataclass
class _RandomMap:
    function: Callable[[Any, np.random.Generator], Any]
    salt: str
    where: Place
    drops_rows: bool = False

    def __call__(self, block: Block) -> Block:
        draws = _draws.Draws(block.ids.hashed(), self.salt)
        rows = list(enumerate(_columns.rows(block.columns)))
        changed = _each_row(
            lambda item: self.function(item[1], draws.generator(item[0])),
            rows,
            block,
            self.where,
        )
        return block.with_columns(_from_rows(changed, block, self.where))


@dataclasses.dataclass
class _RandomColumns:
    transform: Any
    salt: str
    where: Place
    drops_rows: bool = False

    def __call__(self, block: Block) -> Block:
        draws = _draws.Draws(block.ids.hashed(), self.salt)
        try:
            columns = self.transform.random_columns(block.columns, draws)
        except Exception as error:
            error.add_note(f"{self.where}. {_describe_row(block, 0)}")
            raise
        return block.with_columns(columns)


@dataclasses.dataclass
class _MapWithIndex:
    function: Callable[[int, Any], Any]
    where: Place
    drops_rows: bool = False

    def __call__(self, block: Block) -> Block:
        rows = list(
            zip(block.positions.tolist(), _columns.rows(block.columns), strict=True)
        )
        changed = _each_row(lambda item: self.function(*item), rows, block, self.where)
        return block.with_columns(_from_rows(changed, block, self.where))


def _each_row(
    function: Callable[[Any], Any], rows: Sequence[Any], block: Block, where: Place
) -> list[Any]:
    results: list[Any] = []
    give_way = _thread_turns.of_this_thread()
    try:
        for element in rows:
            results.append(function(element))
            if give_way is not None:
                give_way()
    except Exception as error:
        error.add_note(f"{where}. {_describe_row(block, len(results))}")
        raise
    return results


def _from_rows(rows: list[Any], block: Block, where: Place) -> _columns.Column:
    if not rows:
        return []
    try:
        return _columns.from_rows(rows, name_row=block.name_row)
    except _errors.DataError as error:
        error.add_note(f"{where}.")
        raise


def _describe_row(block: Block, index: int) -> str:
    element = _columns.row(block.columns, index)
    if isinstance(element, Mapping):
        spec = "{" + ", ".join(f"{k!r}: {_spec(v)}" for k, v in element.items()) + "}"
    else:
        spec = _spec(element)
    return f"The element was example {int(block.examples[index])}: {spec}."


def _spec(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return type(value).__name__


def _name(transform: object) -> str:
    if isinstance(transform, type) or not callable(transform):
        return type(transform).__name__
    return getattr(transform, "__name__", type(transform).__name__)
