"""Attention of a model on one example: who looks where, by layer and head."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from kauldron import kontext, modules
from kauldron._base import errors
from kauldron.data import utils as data_utils
from kauldron.inspect import _trainer_inputs
from kauldron.inspect.displays import attention_pictures as pictures
from kauldron.inspect.displays import sections
from kauldron.inspect.displays.tables import Table
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.step import looking
from kauldron.step.context import Context
from kauldron.step.train_step import forward

if TYPE_CHECKING:
    from kauldron import train

Labels = Sequence[str] | Callable[[int], str]

# Intermediates that hold weights which were made anyway.
_WEIGHTS = ("attn_weights", "attention_weights")
_CHANNELS = (1, 3, 4)
_NOTE = (
    "keys seen: the exponential of the mean entropy; strongest: of the queries that see "
    "more than one key."
)


class AttentionMapError(errors.UserError, ValueError):
    """Attention that cannot be shown as asked for."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AttentionMap:
    """Attention of one layer on one example.

    Attributes:
      name: Path of the module; `[2]` behind it is the layer of a scan.
      make_weights: Computes the weights. They are not kept: those of all layers may be
        more than fits.
      image: What the model was given, if its keys are patches of it.
      labels: Texts of the keys; empty for none.
      query: Whose attention is drawn over an image: the number of a query, or `None` for
        the first that is no patch, or else the mean of all.
    """

    name: str
    make_weights: Callable[[], np.ndarray]
    image: np.ndarray | None = None
    labels: tuple[str, ...] = ()
    query: int | None = None

    @property
    def weights(self) -> np.ndarray:
        """How much each query attends to each key, `f32[heads t s]`.

        With one more axis in front where the model makes several rows of an example,
        such as frames or windows.
        """
        return self.make_weights()

    def table(self) -> Table:
        """Returns a row for each head: how concentrated it is, and its strongest pair."""
        weights = self._first_row()
        return Table(
            title=_title(self.name, weights),
            columns=("head", "keys seen", "strongest", "query", "key"),
            rows=tuple(self._head_row(i, head) for i, head in enumerate(weights)),
            notes=(_NOTE,),
        )

    def __str__(self) -> str:
        weights = self._first_row()
        drawn = pictures.as_text(weights.mean(0), self._grid(weights), self.labels)
        return f"{self.table()}\nMean of all heads{self._what(weights)}:\n{drawn}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        weights = self._first_row()
        heads = [("mean of heads", weights.mean(0))]
        heads += [(f"head {i}", head) for i, head in enumerate(weights)]
        grid = self._grid(weights)
        shown = pictures.as_html(heads, grid, self.image, self.labels)
        return (
            f"<div class='kd-title'>{pictures.escape(_title(self.name, weights))}"
            f"{pictures.escape(self._what(weights))}</div>{shown}"
        )

    def _first_row(self) -> np.ndarray:
        weights = self.weights
        return weights.reshape(-1, *weights.shape[-3:])[0]

    def _grid(self, weights: np.ndarray) -> pictures.Grid | None:
        """Returns how the keys lie on the image, and whose attention is drawn there."""
        if self.image is None:
            return None
        return pictures.grid_of(self.image.shape[:2], weights.shape, self.query)

    def _what(self, weights: np.ndarray) -> str:
        grid = self._grid(weights)
        if grid is None:
            return ""
        who = "mean of all queries" if grid.query is None else f"query {grid.query}"
        return f", {who} over {grid.height} x {grid.width} patches"

    def _head_row(self, index: int, head: np.ndarray) -> tuple[Any, ...]:
        strengths = _of_those_that_choose(head)
        query, key = np.unravel_index(int(strengths.argmax()), head.shape)
        return (
            index,
            _num_seen(head),
            float(head[query, key]),
            self._label(int(query)) if head.shape[0] == head.shape[1] else str(query),
            self._label(int(key)),
        )

    def _label(self, index: int) -> str:
        text = self.labels[index] if index < len(self.labels) else ""
        return f"{index} {text!r}" if text else str(index)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AttentionMaps:
    """Attention of all layers on one example, in the order of their names.

    Attributes:
      maps: Name of a layer -> its attention.
    """

    maps: Mapping[str, AttentionMap]

    def __getitem__(self, name: str) -> AttentionMap:
        if name not in self.maps:
            hint = errors.did_you_mean(name, self.maps)
            raise AttentionMapError(
                f"No attention of {name!r}.{hint} There are {list(self.maps)}."
            )
        return self.maps[name]

    def __iter__(self) -> Iterator[AttentionMap]:
        return iter(self.maps.values())

    def __len__(self) -> int:
        return len(self.maps)

    def table(self) -> Table:
        """Returns a row for each layer."""
        rows = []
        for layer in self:
            weights = layer._first_row()
            seen = float(np.mean([_num_seen(head) for head in weights]))
            most = float(_of_those_that_choose(weights).max())
            rows.append((layer.name, *weights.shape, seen, most))
        return Table(
            title="Attention by layer",
            columns=("layer", "heads", "queries", "keys", "keys seen", "strongest"),
            rows=tuple(rows),
            notes=(_NOTE, "`maps['layer']` shows one, `.weights` is the array."),
        )

    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return sections.folded(self.maps)


def attention_maps(
    trainer: train.Trainer,
    state: TrainState | None = None,
    batch: PyTree = None,
    *,
    example: int = 0,
    labels: Labels | None = None,
    image: str | None = None,
    query: int | None = None,
) -> AttentionMaps:
    """Returns what each layer and head of a model attends to, on one example.

    Everything that calls `kd.nn.dot_product_attention` is seen, and Flax's
    `MultiHeadDotProductAttention`. The weights are computed afterwards, of queries and
    keys, when they are shown: attention itself is what it is in the run, block by block
    if there are many tokens. Dropout is off.

    Args:
      trainer: The run.
      state: Whose parameters are used; the initial ones unless given.
      batch: The first of `trainer.train_ds` unless given.
      example: Number of the example in the batch.
      labels: Texts of the keys, or what makes a text of a token id, such as
        `tokenizer.token_of`; the ids unless given, if the model is given ids.
      image: Key of the image to draw on, such as `"batch.image"`; what the model is given
        unless said, if it is an image whose patches are the keys.
      query: The query whose attention is drawn on an image.

    Raises:
      AttentionMapError: A `ValueError`: there is no attention, no such example, or the
        labels don't fit.
    """
    run: Any = trainer
    start, batch = looking.inputs_of(trainer, state, batch)
    sizes = {x.shape[0] for x in jax.tree.leaves(batch) if getattr(x, "ndim", 0)}
    batch_size = max(sizes, default=0)
    if not 0 <= example < batch_size:
        raise AttentionMapError(
            f"`example` counts those of the batch, 0 to {batch_size - 1}: got {example}."
        )

    @jax.jit
    def look(state: TrainState, batch: PyTree) -> tuple[PyTree, PyTree]:
        context = Context.from_state_and_batch(state=state, batch=batch)
        with modules.record_attention():
            context = forward(
                context,
                model=trainer.model,
                rngs=trainer.rng_streams.eval_rngs(state.step),
                is_training=False,
                capture=_nothing,
                precision=run.precision,
            )
        inputs = [
            v for v in _arrays_given(trainer.model, context) if hasattr(v, "ndim")
        ]
        return _attention_only(context.interms), inputs

    with run.sharding.set_global_mesh(), _trainer_inputs.telling_model_errors():
        found, inputs = look(start, batch)
    if not found:
        raise AttentionMapError(
            f"{type(trainer.model).__name__} has no attention that can be seen: modules "
            "that call `kd.nn.dot_product_attention` are, and Flax's "
            "`MultiHeadDotProductAttention` with its own function."
        )
    context = Context(step=0, batch=batch)
    drawn = _image_of(context, inputs, image, example)
    ids = _ids_of(inputs, example)
    maps = {}
    for name, make in _layers(found, example, batch_size):
        num_keys = jax.eval_shape(make).shape[-1]
        texts = _texts_of(labels, ids, num_keys)
        maps[name] = AttentionMap(
            name=name,
            make_weights=_on_host(make),
            image=drawn,
            labels=texts,
            query=query,
        )
    return AttentionMaps(maps=dict(sorted(maps.items(), key=_natural)))


def _nothing(module: Any, name: str) -> bool:
    del module, name
    return False


def _arrays_given(model: Any, context: Context) -> list[Any]:
    args, kwargs = data_utils.get_model_inputs(model, context)
    return [*args, *kwargs.values()]


def _attention_only(interms: PyTree) -> dict[str, Any]:
    """Returns path -> what is known of its attention, a call or weights."""
    kinds = (modules.AttentionCall, jax.Array)
    found = {}
    flat, _ = jax.tree_util.tree_flatten_with_path(
        interms, is_leaf=lambda x: isinstance(x, kinds)
    )
    for path, value in flat:
        parts = [getattr(p, "key", getattr(p, "idx", None)) for p in path]
        *module, name, number = parts
        if isinstance(value, modules.AttentionCall) or name in _WEIGHTS:
            place = str(kontext.Path(*module)) or "model"
            found[place if number == 0 else f"{place}#{number}"] = value
    return found


def _layers(
    found: Mapping[str, Any], example: int, batch_size: int
) -> Iterator[tuple[str, Callable[[], jax.Array]]]:
    """Yields the layers, each with what computes the weights `[*r n t s]`."""
    for name, value in found.items():
        if isinstance(value, modules.AttentionCall):
            stacked, num_rows = value.num_stacked, value.num_rows
        else:
            # Batch, heads, queries, keys; further axes are layers of a scan.
            stacked = value.shape[:-4]
            num_rows = value.shape[-4] if value.ndim > 3 else 1
        per_example = num_rows // batch_size
        if not per_example or num_rows % batch_size:
            raise AttentionMapError(
                f"The attention of {name!r} has {num_rows} rows for {batch_size} examples: "
                "it cannot be told which are those of one."
            )
        start = example * per_example
        for index in np.ndindex(*stacked):
            place = name + "".join(f"[{i}]" for i in index)
            if isinstance(value, modules.AttentionCall):
                layer = value.at(*index) if stacked else value
            else:
                layer = value[index]
            yield place, _weights_of(layer, start, start + per_example)


def _weights_of(layer: Any, start: int, stop: int) -> Callable[[], jax.Array]:
    def make() -> jax.Array:
        if isinstance(layer, modules.AttentionCall):
            rows = layer.rows(start, stop).weights()
        else:
            rows = layer[start:stop]
        return rows[0] if stop - start == 1 else rows

    return make


def _on_host(make: Callable[[], jax.Array]) -> Callable[[], np.ndarray]:
    return lambda: np.asarray(make(), np.float32)


def _image_of(
    context: Context, inputs: Sequence[Any], key: str | None, example: int
) -> np.ndarray | None:
    if key is not None:
        value = kontext.get_by_path(context, key)
        if value.ndim != 4 or value.shape[-1] not in _CHANNELS:
            raise AttentionMapError(
                f"An image to draw on is `[b h w 1|3|4]`: {key!r} is "
                f"{kontext.format_spec(value)}."
            )
        return np.asarray(value[example])
    for value in inputs:
        if value.ndim == 4 and value.shape[-1] in _CHANNELS:
            return np.asarray(value[example])
    return None


def _ids_of(inputs: Sequence[Any], example: int) -> np.ndarray | None:
    for value in inputs:
        if value.ndim == 2 and np.dtype(value.dtype).kind in "iu":
            return np.asarray(value[example])
    return None


def _texts_of(
    labels: Labels | None, ids: np.ndarray | None, num_keys: int
) -> tuple[str, ...]:
    if labels is None or callable(labels):
        if ids is None or len(ids) != num_keys:
            return ()
        text_of = str if labels is None else labels
        return tuple(str(text_of(int(i))) for i in ids)
    if len(labels) != num_keys:
        raise AttentionMapError(
            f"Each key has a label: got {len(labels)} labels for {num_keys} keys."
        )
    return tuple(labels)


def _num_seen(head: np.ndarray) -> float:
    """Returns the exponential of the mean entropy of the queries that see anything."""
    rows = head[head.sum(-1) > 0].astype(np.float64)
    if not len(rows):
        return 0.0
    logs = np.log(np.where(rows > 0, rows, 1))
    return float(np.exp(-(rows * logs).sum(-1).mean()))


def _of_those_that_choose(weights: np.ndarray) -> np.ndarray:
    """Returns weights without those of queries that see one key; that is 1 anyway."""
    chooses = (weights > 0).sum(-1, keepdims=True) > 1
    return weights * chooses if chooses.any() else weights


def _title(name: str, weights: np.ndarray) -> str:
    n, t, s = weights.shape
    return f"{name}: {n} heads, {t} queries, {s} keys"


def _natural(entry: tuple[str, Any]) -> list[Any]:
    parts = re.split(r"(\d+)", entry[0])
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]
