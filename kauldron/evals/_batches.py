"""Evaluation batches: a whole dataset on the devices, including a partial last one."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kauldron import sharding
from kauldron._base import errors
from kauldron.data import utils as data_utils
from kauldron.evals import example_rows


class EvaluationError(errors.UserError, ValueError):
    """An evaluation that cannot give a result."""


@dataclasses.dataclass(frozen=True)
class LoadedBatch:
    """A batch on the devices.

    Attributes:
      batch: Global arrays.
      outputs: Column -> values of this process's rows that are to be returned.
      is_whole: Whether every process holds the whole batch, and not its part.
    """

    batch: Any
    outputs: Mapping[str, np.ndarray]
    is_whole: bool


def load(
    ds: Any,
    *,
    batch_sharding: Any,
    num_batches: int | None = None,
    output_keys: example_rows.Keys = (),
    name: str,
) -> Iterator[LoadedBatch]:
    """Yields the batches of a dataset.

    Args:
      ds: The dataset.
      batch_sharding: Where batches are put.
      num_batches: How many; `None` is all.
      output_keys: Keys of what is given back of each example.
      name: Of the evaluator, for messages.

    Raises:
      EvaluationError: If the dataset has no end and `num_batches` says none, or if it
        has no batch.
    """
    ds = ds.for_evaluation()
    if num_batches is None and ds.is_endless:
        raise EvaluationError(
            f"The dataset of the evaluator {name!r} never ends: set `num_epochs=1` on "
            "it, or `num_batches` on the evaluator."
        )
    batches = iter(ds)
    is_whole = False  # of the batch at hand
    place = sharding.BatchPlacer(
        lambda batch: sharding.put_batch(batch, batch_sharding, is_whole=is_whole)
    )
    is_empty = True
    try:
        for batch in _named(itertools.islice(batches, num_batches), name):
            is_empty = False
            is_whole = getattr(batches, "has_whole_batch", False)
            on_devices = place(data_utils.for_devices(batch))
            outputs = example_rows.take_from_batch(batch, output_keys)
            yield LoadedBatch(on_devices, outputs, is_whole)
    finally:
        batches.close()
    if is_empty:
        raise EvaluationError(f"The dataset of the evaluator {name!r} gave no batch.")


def _named(batches: Iterator[Any], name: str) -> Iterator[Any]:
    """Names the evaluator in errors of the data."""
    while True:
        with data_utils.Naming(f"cfg.evals[{name!r}].ds"):
            batch = next(batches, _END)
        if batch is _END:
            return
        yield batch


_END = object()
