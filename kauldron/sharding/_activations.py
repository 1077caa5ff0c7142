"""Where activations are: split by the names of their axes, or passed from stage to stage.

A strategy makes its `Layout` known while a step is traced. Modules ask for nothing but the
names: outside of a run, and on one device, they compute what they would without.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Iterator, Mapping

import jax
from jax.sharding import NamedSharding, PartitionSpec

from kauldron.ktyping import Array, PyTree
from kauldron.sharding._axis_rules import MeshAxes, as_entry, as_tuple

# Leading axis of every activation of a batch.
BATCH = "batch"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the activations of a step are split.

    Attributes:
      mesh: The devices.
      rules: Logical axis of an activation -> mesh axes.
      stage_axis: Mesh axis whose devices each hold some of the layers; `None` for none.
      num_microbatches: Parts of the batch on their way through the stages; `None` for as
        many as there are stages.
    """

    mesh: jax.sharding.Mesh
    rules: Mapping[str, MeshAxes]
    stage_axis: str | None = None
    num_microbatches: int | None = None

    def spec(
        self, shape: tuple[int, ...], names: tuple[str | None, ...]
    ) -> PartitionSpec:
        """Returns how an activation is split; axes that don't divide stay whole."""
        named = _named(len(shape), names)
        entries: list[MeshAxes] = []
        used: set[str] = set()
        for size, name in zip(shape, named, strict=True):
            axes = as_tuple(self.rules.get(name)) if name else ()
            axes = tuple(axis for axis in axes if axis not in used)
            if size % self.size(axes):
                axes = ()
            used.update(axes)
            entries.append(as_entry(axes))
        return PartitionSpec(*entries)

    def size(self, axes: tuple[str, ...]) -> int:
        """Returns over how many devices these mesh axes split."""
        return math.prod(self.mesh.shape[axis] for axis in axes)

    def is_split(self, spec: PartitionSpec) -> bool:
        """Returns whether any device holds less than the whole."""
        return any(self.size(as_tuple(entry)) > 1 for entry in spec)


@dataclasses.dataclass(frozen=True)
class Pipelining:
    """How a stack of layers is run: each stage on devices of its own.

    Attributes:
      axis: Mesh axis of the stages.
      num_stages: How many there are; divides the number of layers.
      num_microbatches: How many parts the batch has; divides the number of examples.
    """

    axis: str
    num_stages: int
    num_microbatches: int


@dataclasses.dataclass(frozen=True)
class NamedActivation:
    """An activation that a module has named the axes of, in a pass over abstract arrays.

    Attributes:
      shape: Its shape.
      names: Logical name of each of its axes; `None` for one without.
    """

    shape: tuple[int, ...]
    names: tuple[str | None, ...]


_layout: contextvars.ContextVar[Layout | None] = contextvars.ContextVar(
    "kauldron_activation_layout", default=None
)
_recorded: contextvars.ContextVar[list[NamedActivation] | None] = (
    contextvars.ContextVar("kauldron_named_activations", default=None)
)


def with_logical_constraint(x: Array, names: tuple[str | None, ...]) -> Array:
    """Splits an activation over the mesh of the run, going by the names of its axes.

    Without a mesh, on a mesh of one device, and for names without a rule, it returns `x`.
    An axis that does not divide, as in the last batch of an evaluation, stays whole.

    Args:
      x: Traced array, `[b ... *names]`.
      names: Of the last axes, such as `("sequence", "embed")`; `None` for an axis that is
        never split. If there are more axes, the first of all is `batch`.

    Example:

    ```python
    x = kd.sharding.with_logical_constraint(x, ("sequence", "embed"))
    ```
    """
    recorded = _recorded.get()
    if recorded is not None:
        named = NamedActivation(tuple(x.shape), _named(x.ndim, names))
        recorded.append(named)
    layout = _layout.get()
    if layout is None:
        return x
    spec = layout.spec(x.shape, names)
    if not layout.is_split(spec):
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(layout.mesh, spec))


def pipelining(num_layers: int, batch_size: int) -> Pipelining | None:
    """Returns how the layers of a scan are run on the mesh of the run.

    Args:
      num_layers: Of the scan.
      batch_size: Number of examples.

    Returns:
      `None` where the mesh has no stages, or they don't divide the layers: the scan then
      goes over all of them as ever. A batch with fewer examples than micro-batches, or a
      number that does not divide, has fewer of them.
    """
    layout = _layout.get()
    if layout is None or layout.stage_axis is None:
        return None
    num_stages = layout.mesh.shape[layout.stage_axis]
    if num_stages == 1 or num_layers % num_stages:
        return None
    wanted = layout.num_microbatches or num_stages
    num_shards = layout.size(as_tuple(layout.rules.get(BATCH)))
    # In the last batch of an evaluation, every device computes all examples.
    examples = batch_size if batch_size % num_shards else batch_size // num_shards
    return Pipelining(layout.stage_axis, num_stages, math.gcd(wanted, examples))


def split_stages(tree: PyTree, axis: str) -> PyTree:
    """Splits arrays `[stages b ...]` over the stages, and the batch over its axes."""
    layout = _layout.get()
    if layout is None:
        return tree

    def split(x: Array) -> Array:
        rest = layout.spec(x.shape[1:], (None,) * (x.ndim - 2))
        sharding = NamedSharding(layout.mesh, PartitionSpec(axis, *rest))
        return jax.lax.with_sharding_constraint(x, sharding)

    return jax.tree.map(split, tree)


@contextlib.contextmanager
def using_layout(layout: Layout) -> Iterator[None]:
    """Splits the activations of what is traced in the block."""
    token = _layout.set(layout)
    try:
        yield
    finally:
        _layout.reset(token)


@contextlib.contextmanager
def record_activations() -> Iterator[list[NamedActivation]]:
    """Yields a list that is filled with the activations that are named in the block."""
    recorded: list[NamedActivation] = []
    token = _recorded.set(recorded)
    try:
        yield recorded
    finally:
        _recorded.reset(token)


def _named(ndim: int, names: tuple[str | None, ...]) -> tuple[str | None, ...]:
    """Returns a name for each axis, of names of the last ones."""
    num_more = ndim - len(names)
    if num_more < 0:
        raise ValueError(
            f"An activation with {ndim} axes was given {len(names)} names, {names}: they "
            "are those of its last axes."
        )
    return (BATCH, *(None,) * (num_more - 1), *names) if num_more else tuple(names)
