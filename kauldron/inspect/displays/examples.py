"""Examples of a dataset by their loss: the ones that a model is worst at."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from kauldron import kontext, sharding
from kauldron._base import errors
from kauldron.data import utils as data_utils
from kauldron.inspect.displays import galleries
from kauldron.inspect.displays.tables import Table
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.step.context import Context
from kauldron.step.train_step import forward

if TYPE_CHECKING:
    from kauldron import data, losses, train


class ExampleLossError(errors.UserError, ValueError):
    """Losses of single examples that cannot be told."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankedExample:
    """An example, with what a model made of it.

    Attributes:
      loss: As if it were alone in its batch, with the weight of the loss.
      index: Its place in the dataset, from 0.
      batch: The example, without a batch axis.
      preds: What the model returned for it, likewise.
    """

    loss: float
    index: int
    batch: PyTree
    preds: PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankedExamples:
    """Examples with the largest losses, worst first.

    Attributes:
      examples: The examples.
      loss: Name of the loss.
      num_seen: How many examples were looked at.
    """

    examples: tuple[RankedExample, ...]
    loss: str
    num_seen: int

    def table(self) -> Table:
        """Returns a row for each: its loss, place, and the arrays that are small."""
        rows = [{**_small("batch", e.batch), **_small("preds", e.preds)} for e in self]
        names = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
        return Table(
            title=f"Largest {self.loss!r} of {self.num_seen:,} examples",
            columns=("loss", "index", *names),
            rows=tuple(
                (e.loss, e.index, *(row.get(name) for name in names))
                for e, row in zip(self, rows, strict=True)
            ),
        )

    def __iter__(self) -> Iterator[RankedExample]:
        return iter(self.examples)

    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows: dict[str, list[galleries.Item]] = {}
        for example in self:
            for root, tree in (("batch", example.batch), ("preds", example.preds)):
                for path, value in kontext.flatten_with_path(tree).items():
                    label = f"#{example.index}: {example.loss:.3g}"
                    item = galleries.to_item(value, label)
                    if item is not None:
                        rows.setdefault(f"{root}.{path}", []).append(item)
        pictures = galleries.Gallery(rows={k: tuple(v) for k, v in rows.items()})
        return pictures._repr_html_() + self.table()._repr_html_()


def largest_losses(
    trainer: train.Trainer,
    state: TrainState,
    ds: data.IterableDataset | None = None,
    *,
    loss: str | None = None,
    num: int = 16,
) -> RankedExamples:
    """Returns the examples that a model is worst at, with what it made of them.

    Args:
      trainer: The run.
      state: Whose parameters are used; dropout is off.
      ds: Batches that end; `trainer.eval_ds` unless given.
      loss: Name of one of `trainer.train_losses`; the sum of all unless given.
      num: How many.

    Raises:
      ExampleLossError: A `ValueError`: there is no such loss, or one compares the examples
        of a batch with each other; or `num` is less than 1.
    """
    run_of: Any = trainer
    chosen = _choose(trainer.train_losses, loss)
    if num < 1:
        raise ExampleLossError(f"`num` counts examples, from 1 on: got {num}.")
    if ds is None:
        ds = trainer.eval_ds
    if ds is None:
        raise ExampleLossError("The trainer has no `eval_ds`: give a dataset.")

    @jax.jit
    def run(state: TrainState, batch: PyTree) -> tuple[Any, PyTree]:
        context = Context.from_state_and_batch(state=state, batch=batch)
        context = forward(
            context,
            model=trainer.model,
            rngs=trainer.rng_streams.eval_rngs(state.step),
            is_training=False,
            precision=run_of.precision,
        )

        def of_one(example: PyTree, preds: PyTree) -> Any:
            alone = jax.tree.map(lambda x: x[None], (example, preds))
            one = dataclasses.replace(context, batch=alone[0], preds=alone[1])
            return [_value(each, one) for each in chosen.values()]

        return sum(jax.vmap(of_one)(batch, context.preds)), context.preds

    worst: list[tuple[float, int, RankedExample]] = []
    num_seen = 0
    for on_host in ds:
        batch = sharding.device_put(
            data_utils.for_devices(on_host), run_of.sharding.batch
        )
        values, preds = jax.device_get(run(state, batch))
        for i, value in enumerate(values.tolist()):
            example = RankedExample(
                loss=value,
                index=num_seen + i,
                batch=_at(on_host, i),
                preds=_at(preds, i),
            )
            entry = (_rank(value), -example.index, example)
            if len(worst) < num:
                heapq.heappush(worst, entry)
            else:
                heapq.heappushpop(worst, entry)
        num_seen += len(values)
    found = sorted(worst, key=lambda entry: (-entry[0], -entry[1]))
    return RankedExamples(
        examples=tuple(example for _, _, example in found),
        loss=" + ".join(chosen),
        num_seen=num_seen,
    )


def _choose(tree: Mapping[str, Any], name: str | None) -> dict[str, losses.Loss]:
    found = {
        str(path): value for path, value in tree.items() if hasattr(value, "get_state")
    }
    if name is not None and name not in found:
        hint = errors.did_you_mean(name, found)
        raise ExampleLossError(f"No loss {name!r}: there are {list(found)}.{hint}")
    chosen = found if name is None else {name: found[name]}
    comparing = [k for k, v in chosen.items() if getattr(v, "compares_examples", False)]
    if comparing:
        raise ExampleLossError(
            f"{comparing} compare the examples of a batch with each other: an example "
            "alone has no such loss. Name another with `loss=`."
        )
    if not chosen:
        raise ExampleLossError("The trainer has no losses: set `train_losses`.")
    return chosen


def _value(loss: Any, context: Context) -> Any:
    state = loss.get_state_from_context(context)
    return state.total / jax.numpy.maximum(state.count, 1e-30)


def _rank(value: float) -> float:
    """What is not finite is worst of all."""
    return value if np.isfinite(value) else np.inf


def _at(tree: PyTree, index: int) -> PyTree:
    return jax.tree.map(lambda x: np.asarray(x)[index], tree)


def _small(root: str, tree: PyTree) -> dict[str, str]:
    """Returns what fits into a cell: up to ten numbers, or a text."""
    found = {}
    for path, value in kontext.flatten_with_path(tree).items():
        array = np.asarray(value)
        if array.size <= 10 and array.ndim <= 1:
            with np.printoptions(precision=3, suppress=True):
                found[f"{root}.{path}"] = str(
                    array.item() if array.size == 1 else array
                )
    return found
