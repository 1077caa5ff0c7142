"""Inspecting batches, and profiling a pipeline."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from kauldron._base import text_tables
from kauldron.data import _errors, _nodes, _order, datasets
from kauldron.data.py import base

if TYPE_CHECKING:
    from kauldron.ktyping import PyTree


def describe_batch(batch: PyTree) -> str:
    """Returns a table: each key with dtype, shape, and what the values look like."""
    lines = [("key", "dtype", "shape", "values")]
    for path, leaf in _leaves(batch):
        array = np.asarray(leaf)
        lines.append((path, str(array.dtype), str(array.shape), _values(array)))
    return text_tables.aligned(lines)


def describe_spec(element_spec: PyTree) -> str:
    """Returns a table: each key with dtype and shape."""
    leaves = [("key", "dtype", "shape")] + [
        (path, str(np.dtype(spec.dtype)), str(tuple(spec.shape)))
        for path, spec in _leaves(element_spec)
    ]
    return text_tables.aligned(leaves)


def batch_picture(batch: PyTree, *, max_images: int = 16, min_side: int = 64) -> Any:
    """Returns a picture of the images in a batch, one row of images for each key.

    Args:
      batch: Keys with arrays `[b h w c]`, c in (1, 3, 4), are shown: bytes as they are,
        wider unsigned integers from [0, their largest value in the batch], floats from
        [0, 1], or from [-1, 1] if some are negative.
      max_images: How many of each key.
      min_side: Smaller images are magnified to about this many pixels.

    Returns:
      A `PIL.Image`, which notebooks display and `.save(path)` writes.

    Raises:
      DataError: If there are no images.
    """
    from PIL import Image

    rows = []
    for _, leaf in _leaves(batch):
        array = np.asarray(leaf)
        if (
            array.ndim == 4
            and array.shape[-1] in (1, 3, 4)
            and array.dtype.kind in "fu"
        ):
            rows.append(_row_of_images(array[:max_images], min_side))
    if not rows:
        raise _errors.DataError(
            "The batch has no images `[b h w c]` with 1, 3 or 4 channels:\n"
            f"{describe_batch(batch)}"
        )
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(r, [(0, 4), (0, width - r.shape[1]), (0, 0)]) for r in rows]
    return Image.fromarray(np.concatenate(padded))


@dataclasses.dataclass(frozen=True)
class BenchReport:
    """Speed of a pipeline.

    Attributes:
      examples_per_sec: With everything that runs ahead.
      first_batch_secs: Until the first batch came.
      stages: Name -> seconds a batch takes in one thread, in order.
    """

    examples_per_sec: float
    first_batch_secs: float
    stages: dict[str, float]

    def __str__(self) -> str:
        total = sum(self.stages.values())
        width = max(map(len, [*self.stages, "one thread"]))
        lines = [
            f"{name:<{width}}  {secs * 1e3:9.3f} ms  {secs / total:6.1%}"
            for name, secs in [*self.stages.items(), ("one thread", total)]
        ]
        return "\n".join(
            [
                f"{self.examples_per_sec:,.0f} examples/s; first batch after "
                f"{self.first_batch_secs:.2f} s. Time of a batch in one thread:",
                *lines,
            ]
        )


def bench(ds: datasets.IterableDataset, *, secs: float = 3.0) -> BenchReport:
    """Measures a pipeline as it is, and each of its stages alone.

    Args:
      ds: A `kd.data.py` pipeline; of other datasets only the whole is measured.
      secs: How long the whole is measured, in seconds.
    """
    begin = time.perf_counter()
    with iter(ds) as batches:
        next(batches)
        first_secs = time.perf_counter() - begin
        endless = _repeated(ds, batches)
        begin = time.perf_counter()
        num_batches = 0
        while (elapsed := time.perf_counter() - begin) < secs or not num_batches:
            next(endless)
            num_batches += 1
    num_rows = getattr(ds, "batch_size", None) or 1
    return BenchReport(
        examples_per_sec=num_batches * num_rows / elapsed,
        first_batch_secs=first_secs,
        stages=_stage_secs(ds) if isinstance(ds, base.PyGrainPipeline) else {},
    )


def _repeated(ds: datasets.IterableDataset, batches: Any) -> Iterator[Any]:
    yield from batches
    while True:
        with iter(ds) as again:
            yield from again


def _stage_secs(ds: base.PyGrainPipeline, num_batches: int = 10) -> dict[str, float]:
    source, stages, batching, _ = ds.parts()
    batching = dataclasses.replace(batching, process=(0, 1))
    without_batch_stages = dataclasses.replace(batching, batch_stages=())
    secs: dict[str, float] = {}

    def timed(name: str, function: Any, *args: Any) -> Any:
        begin = time.perf_counter()
        result = function(*args)
        secs[name] = secs.get(name, 0.0) + (time.perf_counter() - begin) / num_batches
        return result

    for i in range(-1, num_batches):
        if i == 0:
            secs.clear()  # the first time is for warming up
        positions = _order.positions_from(max(i, 0) * batching.step, batching.step)
        block = timed("read", source.fetch, positions)
        for number, stage in enumerate(stages):
            block = timed(
                f"#{number} {stage.where.name}", _nodes.run_stages, block, [stage]
            )
        if not len(block):
            continue
        timed("batch", without_batch_stages.finish, block, len(block))
        if batching.batch_stages:
            begin = secs["batch"]
            timed("batch transforms", batching.finish, block, len(block))
            secs["batch transforms"] -= secs["batch"] - begin
    return secs


def _leaves(tree: PyTree, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(tree, dict):
        items: Any = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    else:
        return [(path or ".", tree)]
    return list(
        itertools.chain.from_iterable(
            _leaves(child, f"{path}.{key}" if path else str(key))
            for key, child in items
        )
    )


def _values(array: np.ndarray) -> str:
    if not array.size:
        return "empty"
    if array.dtype.kind in "biuf" and array.size > 8:
        values = array.astype(np.float64)
        return (
            f"min {values.min():.4g}  mean {values.mean():.4g}  max {values.max():.4g}"
        )
    first = ", ".join(str(value)[:24] for value in array.ravel()[:8])
    return first + (", ..." if array.size > 8 else "")


def _row_of_images(images: np.ndarray, min_side: int) -> np.ndarray:
    if images.dtype != np.uint8:
        values = images.astype(np.float32)
        if images.dtype.kind == "u":
            # A scanner that fills 12 of 16 bits would be nearly black on the full scale.
            values = values / max(float(values.max()), 1.0)
        elif values.min() < 0:
            values = (values + 1) / 2
        images = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    if images.shape[-1] == 1:
        images = images.repeat(3, axis=-1)
    images = images[..., :3]
    factor = max(1, math.ceil(min_side / min(images.shape[1:3])))
    images = images.repeat(factor, axis=1).repeat(factor, axis=2)
    padded = np.pad(images, [(0, 0), (0, 0), (0, 4), (0, 0)])
    return np.concatenate(list(padded), axis=1)
