"""Applying shardings to pytrees: constraints inside jit, transfers outside."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.core
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from kauldron._base import errors
from kauldron.ktyping import Array, PyTree
from kauldron.sharding import _mesh, aligned_arrays

# A prefix tree of: None (leave to the compiler), a sharding (for the whole subtree), or
# a callable from the subtree to a sharding tree.
ShardingTree: TypeAlias = PyTree


_NO_CONTEXT = contextlib.nullcontext()


class BatchSizeError(errors.UserError, ValueError):
    """A batch does not divide over the devices it is to be split over."""


def with_sharding_constraint(tree: PyTree, shardings: ShardingTree) -> PyTree:
    """Constrains a pytree of traced arrays; sets `.sharding` on abstract ones.

    Args:
      tree: Arrays, tracers, or `jax.ShapeDtypeStruct`s.
      shardings: A prefix of `tree`, see `ShardingTree`.

    Returns:
      A tree of the same structure.
    """
    return _apply(_constrain, tree, shardings)


def device_put(tree: PyTree, shardings: ShardingTree) -> PyTree:
    """Places host data on devices.

    With several processes every process passes its own part: the first axis of the
    global array is the concatenation over processes (replicated leaves are passed whole
    by every process).

    Args:
      tree: NumPy arrays or Python scalars; arrays that are placed already may move.
      shardings: A prefix of `tree`, see `ShardingTree`; `None` leaves are put on the
        default device.

    Raises:
      BatchSizeError: If an axis does not divide over the devices.
    """
    return _apply(_put, tree, shardings)


def check_batch(specs: PyTree, shardings: ShardingTree) -> None:
    """Raises if a batch could not be placed; no data are needed.

    Args:
      specs: Anything with `shape`, of the global batch.
      shardings: A prefix of it, see `ShardingTree`.

    Raises:
      BatchSizeError: If an axis does not divide over the devices.
    """

    def check(tree: PyTree, sharding: Sharding | None) -> PyTree:
        if sharding is not None and not sharding.is_fully_replicated:
            for x in jax.tree.leaves(tree):
                _check_divides(x.shape, sharding)
        return tree

    _apply(check, specs, shardings)


def check_parts(specs: PyTree, shardings: ShardingTree, num_microbatches: int) -> None:
    """Raises if a batch does not split into the micro-batches of a pipeline.

    Args:
      specs: Anything with `shape`, of the global batch.
      shardings: A prefix of it, see `ShardingTree`.
      num_microbatches: How many; each is split over the devices.

    Raises:
      BatchSizeError: If a part does not divide over the devices.
    """

    def check(tree: PyTree, sharding: Sharding | None) -> PyTree:
        num_shards = _num_shards(sharding)
        for x in jax.tree.leaves(tree):
            step = num_shards * num_microbatches
            if x.shape[0] % step:
                sizes = _multiples_near(x.shape[0], step)
                raise BatchSizeError(
                    f"A batch of {x.shape[0]} examples does not split into the "
                    f"{num_microbatches} micro-batches of `cfg.sharding.num_microbatches`"
                    f", each over {num_shards} devices. Use `batch_size="
                    f"{sizes}`, or another number of micro-batches."
                )
        return tree

    _apply(check, specs, shardings)


def put_batch(batch: PyTree, shardings: ShardingTree, *, is_whole: bool) -> PyTree:
    """Places a batch of an evaluation, whose first axis need not divide over devices.

    A batch that does not divide (the last one) is replicated: every device computes all
    of it, which is exact for every metric.

    Args:
      batch: Host batch.
      shardings: A prefix of it, see `ShardingTree`.
      is_whole: Whether every process passes the whole batch, and not its part.
    """
    if is_whole:
        return device_put(batch, _replicated_beside(shardings))
    try:
        return device_put(batch, shardings)
    except BatchSizeError:
        if jax.process_count() > 1:  # the parts that other processes have are missing
            raise
        return device_put(batch, _replicated_beside(shardings))


def _replicated_beside(shardings: ShardingTree) -> NamedSharding:
    """Returns the sharding for arrays on every device, on the mesh of the others."""
    for leaf in jax.tree.leaves(shardings, is_leaf=_is_sharding_leaf):
        if isinstance(leaf, NamedSharding):
            return leaf.update(spec=PartitionSpec())
    return _mesh.replicated()


def spread_rows(tree: PyTree) -> PyTree:
    """Places arrays inside jit so that processes can share their rows out.

    The first axis is split over all devices if it divides; otherwise every device has
    all rows. `own_rows` says which ones a process answers for.
    """

    def place(x: Array) -> Any:
        is_split = x.shape[0] % jax.device_count() == 0
        sharding = _mesh.first_dim() if is_split else _mesh.replicated()
        return _constrain(x, sharding)

    return jax.tree.map(place, tree)


def own_rows(num_rows: int) -> slice:
    """Returns which rows of a global batch this process answers for.

    Its part, if the rows are split over the devices; if they are not, all are the first
    process's.
    """
    index, count = jax.process_index(), jax.process_count()
    if count == 1 or num_rows % jax.device_count():
        return slice(0, num_rows if index == 0 else 0)
    per_process = num_rows // count
    return slice(index * per_process, (index + 1) * per_process)


def fetch_rows(x: jax.Array) -> np.ndarray:
    """Returns the rows that this process answers for, of an array of `spread_rows`."""
    if x.is_fully_addressable:
        return np.asarray(x)
    own = own_rows(x.shape[0])
    if x.is_fully_replicated:
        return np.asarray(x.addressable_data(0))[own]
    parts = {shard.index[0].start or 0: shard.data for shard in x.addressable_shards}
    return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])


def to_host(tree: PyTree) -> PyTree:
    """Returns the tree with NumPy arrays in the place of those on devices.

    As `jax.device_get`, which takes ten times as long for small arrays on a CPU. The
    arrays are read-only; on a CPU they are views. Other leaves are kept.
    """
    if type(tree) is np.ndarray:  # nearly all are, once they were fetched
        return tree
    leaves, structure = jax.tree.flatten(tree)
    placed = [
        i
        for i, x in enumerate(leaves)
        if type(x) is not np.ndarray and isinstance(x, jax.Array)
    ]
    if not placed:
        return tree
    arrays = [leaves[i] for i in placed]
    if jax.default_backend() != "cpu":
        # All are on their way before the first wait; and a transfer guard allows it, as
        # it does not `np.asarray`.
        arrays = jax.device_get(arrays)
    for i, x in zip(placed, arrays, strict=True):
        leaves[i] = np.asarray(x)
    return structure.unflatten(leaves)


def allowing_transfers() -> contextlib.AbstractContextManager[object]:
    """Inside the block, no transfer guard of JAX is in force.

    Entering one takes longer than most of what is done inside: where none is in force,
    nothing is entered.
    """
    config: Any = jax.config
    guards = (
        config.jax_transfer_guard_host_to_device,
        config.jax_transfer_guard_device_to_device,
        config.jax_transfer_guard_device_to_host,
    )
    if all(guard in (None, "allow") for guard in guards):
        return _NO_CONTEXT
    return jax.transfer_guard("allow")


def settle(tree: PyTree) -> None:
    """Waits for a step where running ahead could hang; elsewhere does nothing.

    Several CPU devices in one process share a small thread pool. With many steps in
    flight, the threads of one step's collective can all wait for those of another
    (seen with jax 0.10.2: "AwaitAndLogIfStuck").
    """
    if _mesh.are_simulated():
        jax.block_until_ready(tree)


def map_shardings(
    function: Callable[[Any, Sharding | None], Any],
    tree: PyTree,
    shardings: ShardingTree,
) -> PyTree:
    """Returns the tree with each leaf replaced by `function(leaf, its sharding)`."""

    def each(subtree: PyTree, sharding: Sharding | None) -> PyTree:
        return jax.tree.map(lambda x: function(x, sharding), subtree)

    return _apply(each, tree, shardings)


def _apply(place: Callable, tree: PyTree, shardings: ShardingTree) -> PyTree:
    def place_subtree(sharding: object, subtree: PyTree) -> PyTree:
        if sharding is None:
            sharding_of = None
        elif isinstance(sharding, Sharding):
            sharding_of = sharding
        elif callable(sharding):
            return _apply(place, subtree, sharding(subtree))
        else:
            raise TypeError(
                "A sharding tree holds shardings, callables and None: got "
                f"{sharding!r}."
            )
        return place(subtree, sharding_of)

    return jax.tree.map(place_subtree, shardings, tree, is_leaf=_is_sharding_leaf)


def _is_sharding_leaf(node: object) -> bool:
    return node is None or isinstance(node, Sharding) or _is_rule(node)


def _is_rule(node: object) -> bool:
    # Containers such as `ImmutableDict` are not callable; flax structs may be.
    return callable(node) and jax.tree_util.all_leaves([node])


def _constrain(tree: PyTree, sharding: Sharding | None) -> PyTree:
    if sharding is None:
        return tree
    sharding = _canonical(sharding)

    def constrain(x: Array) -> Any:
        if isinstance(x, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
        is_placed = isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer)
        if is_placed and x.sharding == sharding:
            return x  # JAX would compile a program for each shape
        return jax.lax.with_sharding_constraint(x, sharding)

    return jax.tree.map(constrain, tree)


def _canonical(sharding: Sharding) -> Sharding:
    """Returns a sharding as compiled programs give it back, without `None` at the end.

    For jit, `P('devices', None)` is another one than `P('devices')`: the second step
    would be compiled again.
    """
    if not isinstance(sharding, NamedSharding):
        return sharding
    spec = tuple(sharding.spec)
    while spec and spec[-1] is None:
        spec = spec[:-1]
    if len(spec) == len(sharding.spec):
        return sharding
    return sharding.update(spec=PartitionSpec(*spec))


def is_cpu(sharding: Sharding | None) -> bool:
    """Whether it places arrays on CPUs; `None` is the default device.

    There, JAX reads an array of NumPy in place if it begins at a multiple of 64 bytes
    (whatever `may_alias` says), and when its turn comes: a loader may have written its next
    batch to it by then. It has to be given a copy.
    """
    devices = jax.local_devices() if sharding is None else sharding.device_set
    return next(iter(devices)).platform == "cpu"


def _of_its_own(x: Any) -> Any:
    return aligned_arrays.copy(x) if type(x) is np.ndarray else x


def _put(tree: PyTree, sharding: Sharding | None) -> PyTree:
    if is_cpu(sharding):
        tree = jax.tree.map(_of_its_own, tree)
    if sharding is None:
        return jax.device_put(tree)
    if jax.process_count() > 1:
        # JAX takes these transfers for implicit ones.
        with jax.transfer_guard_host_to_device("allow"):
            return jax.tree.map(lambda x: _put_from_processes(x, sharding), tree)
    if not sharding.is_fully_replicated:
        for x in jax.tree.leaves(tree):
            _check_divides(np.shape(x), sharding)
    return jax.device_put(tree, sharding)  # one call: a call per array is slower


def _put_from_processes(x: Array, sharding: Sharding) -> jax.Array:
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return jax.device_put(x, sharding)
    x = np.asarray(x)
    if sharding.is_fully_replicated:
        return jax.make_array_from_process_local_data(sharding, x, x.shape)
    global_shape = (x.shape[0] * jax.process_count(), *x.shape[1:])
    _check_divides(global_shape, sharding)
    return jax.make_array_from_process_local_data(sharding, x, global_shape)


def _check_divides(shape: tuple[int, ...], sharding: Sharding) -> None:
    num_shards = _num_shards(sharding)
    size = shape[0] if shape else 0
    if num_shards > 1 and (not shape or size % num_shards):
        raise BatchSizeError(
            f"The first axis of every batch array is split over {num_shards} devices, "
            f"but has {'no axes' if not shape else f'{size} entries'} (shape {shape}). "
            f"Use `batch_size={_multiples_near(size, num_shards)}`, or "
            "`cfg.sharding = kd.sharding.ShardingStrategy(batch=kd.sharding.REPLICATED)`."
        )


def _num_shards(sharding: Sharding | None) -> int:
    """Returns over how many devices a sharding splits the first axis."""
    if not isinstance(sharding, NamedSharding) or not len(sharding.spec):
        return 1
    axes = sharding.spec[0]
    if axes is None:
        return 1
    names = (axes,) if isinstance(axes, str) else axes
    return math.prod(sharding.mesh.shape[name] for name in names)


def _multiples_near(size: int, step: int) -> str:
    """Returns the multiples of `step` next to `size`, as a text."""
    below = size // step * step
    return " or ".join(str(n) for n in (below, below + step) if n)
