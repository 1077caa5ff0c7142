"""Memory of a program before it is compiled: what is alive between its operations.

An estimate. Operations run in the order of the program; chains of elementwise operations
are one, whose values in between are never stored; a value is freed after its last use.
Where values are split nobody has decided yet: those that have the shape of a parameter
are split as that one is, those of the shape of a value that the model constrains as that
one is, others along the axis that has the size of the batch as the batch is, and along one
of a size that parameters are split over, such as the heads, as those are. Before a parameter that is split over axes of the batch is multiplied with, the
devices gather it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.sharding import NamedSharding

from kauldron.inspect import _lowered_step

_Shape = tuple[int, ...]

# Compilers put them into the operation that reads their result.
_FUSED_NAMES = """
abs add and broadcast_in_dim ceil clamp convert_element_type copy copy_p cos div eq
erf erf_inv exp exp2 expand_dims expm1 floor ge gt integer_pow iota is_finite le log
log1p logistic lt max min mul ne neg nextafter not or pow reduce_precision rem reshape
round rsqrt select_n sharding_constraint shift_left shift_right_logical sign sin sqrt
square squeeze stop_gradient sub tanh xor
"""
_FUSED = frozenset(_FUSED_NAMES.split())
_REDUCTIONS = frozenset(
    [
        "argmax",
        "argmin",
        "reduce_and",
        "reduce_max",
        "reduce_min",
        "reduce_or",
        "reduce_sum",
    ]
)
# They write into an operand that nobody else needs.
_IN_PLACE = frozenset(["dynamic_update_slice", "scatter", "scatter-add", "scatter_add"])
_CONTRACTIONS = frozenset(
    ["conv_general_dilated", "dot_general", "gather", "ragged_dot"]
)
_LOOPS = frozenset(("scan", "while"))


class Held(NamedTuple):
    """A value that is there at the peak.

    Attributes:
      num_bytes: On each device.
      aval: Its shape and dtype.
      equation: What makes it.
      scopes: Those of the programs that it is made in, outermost first.
    """

    num_bytes: int
    aval: Any
    equation: Any
    scopes: tuple[str, ...]

    @property
    def scope(self) -> str:
        """The scopes of model and step that it is made in, with slashes."""
        own = str(self.equation.source_info.name_stack)
        return "/".join(filter(None, (*self.scopes, own)))


class _Moment(NamedTuple):
    """What is there while an operation runs.

    Attributes:
      equation: The operation.
      alive: Value -> bytes, with those that the operation makes.
      num_made: Bytes of these.
      num_bytes: Of everything, with what the operation takes for itself.
    """

    equation: Any
    alive: Mapping[Any, int]
    num_made: int
    num_bytes: int


def peak(
    step: Callable[..., Any], state: Any, batch: Any, rows: _lowered_step.Rows
) -> int:
    """Returns the most bytes that a device holds besides state and batch.

    Args:
      step: From state and batch to the next state, which takes the place of the first,
        and to anything else.
      state: Specs with shardings, with `params`.
      batch: Specs.
      rows: Those of the batch.
    """
    liveness, jaxpr, in_place = _prepared(step, state, batch, rows)
    return liveness.peak(jaxpr, free=in_place)


def held_at_peak(
    step: Callable[..., Any], state: Any, batch: Any, rows: _lowered_step.Rows
) -> list[Held]:
    """Returns the values that `peak` counts, in the order they are made."""
    liveness, jaxpr, in_place = _prepared(step, state, batch, rows)
    return list(liveness.held(jaxpr, free=in_place))


def _prepared(
    step: Callable[..., Any], state: Any, batch: Any, rows: _lowered_step.Rows
) -> tuple[_Liveness, Any, Sequence[Any]]:
    jaxpr: Any = jax.make_jaxpr(step)(state, batch).jaxpr
    while len(jaxpr.eqns) == 1 and (inner := _inner_jaxprs(jaxpr.eqns[0])):
        (jaxpr,) = inner
    in_place = jaxpr.outvars[: len(jax.tree.leaves(state))]
    splits = _Splits.of(state.params, rows, dict(_constrained(jaxpr)))
    return _Liveness(splits), jaxpr, in_place


@dataclasses.dataclass(frozen=True)
class _Splits:
    """How large the part of a value is that a device holds, by shape.

    Attributes:
      known: Shape, of a parameter or of a value that the model constrains -> that of the
        part of a device, and of what a device has gathered.
      batch_size: Rows of the batch.
      batch_shards: Parts that it is split into.
      axis_shards: Size of an axis -> parts, of axes that parameters are split along.
    """

    known: Mapping[_Shape, tuple[_Shape, _Shape]]
    batch_size: int
    batch_shards: int
    axis_shards: Mapping[int, int]

    @classmethod
    def of(
        cls,
        params: Any,
        rows: _lowered_step.Rows,
        constrained: Mapping[_Shape, _Shape],
    ) -> _Splits:
        shapes = {whole: (part, part) for whole, part in constrained.items()}
        of_params: dict[_Shape, tuple[_Shape, _Shape]] = {}
        axis_shards: dict[int, int] = {}
        for x in jax.tree.leaves(params):
            if not isinstance(x.sharding, NamedSharding):
                continue
            sizes, axes = x.sharding.mesh.shape, _axes_of(x)
            part = x.sharding.shard_shape(x.shape)
            others = [[a for a in names if a not in rows.mesh_axes] for names in axes]
            shards = [math.prod(sizes[a] for a in names) for names in others]
            whole = tuple(n // k for n, k in zip(x.shape, shards, strict=True))
            of_params.setdefault(tuple(x.shape), (part, whole))
            if len(x.shape) > 1 and not axes[0]:  # a layer of several
                of_params.setdefault(tuple(x.shape[1:]), (part[1:], whole[1:]))
            axis_shards |= {n: k for n, k in zip(x.shape, shards, strict=True) if k > 1}
        return cls(shapes | of_params, rows.number, rows.num_shards, axis_shards)

    def num_bytes(self, var: Any, *, is_gathered: bool = False) -> int:
        aval: Any = var.aval
        shape = tuple(getattr(aval, "shape", ()))
        if not hasattr(aval, "dtype"):
            return 0
        if shape in self.known:
            shape = self.known[shape][is_gathered]
            return math.prod(shape) * _itemsize(aval)
        parts = 1
        if self._batch_axis(shape):
            parts *= self.batch_shards
        parts *= max((self.axis_shards.get(n, 1) for n in shape), default=1)
        return math.ceil(math.prod(shape) * _itemsize(aval) / parts)

    def _batch_axis(self, shape: _Shape) -> bool:
        """Whether an axis has the rows of the batch, or is made of them and others."""
        if self.batch_size in shape:
            return True
        merged = shape[0] if len(shape) > 1 else 0
        return merged > self.batch_size and merged % self.batch_size == 0


@dataclasses.dataclass(frozen=True)
class _Liveness:
    splits: _Splits

    def peak(self, jaxpr: Any, *, free: Iterable[Any] = ()) -> int:
        """Returns the most bytes of values that a jaxpr makes, its outputs included.

        Args:
          jaxpr: The program.
          free: Those of its outputs that take the place of an input.
        """
        return max((m.num_bytes for m in self._moments(jaxpr, free)), default=0)

    def held(self, jaxpr: Any, *, free: Iterable[Any] = ()) -> Iterator[Held]:
        """Yields the values that are there at the peak, in the order they are made."""
        most = self.peak(jaxpr, free=free)
        makers = {v: e for e in jaxpr.eqns for v in e.outvars}
        for moment in self._moments(jaxpr, free):
            if moment.num_bytes < most:
                continue
            inner = {id(x): self.peak(x) for x in _inner_jaxprs(moment.equation)}
            is_inside = max(inner.values(), default=0) > moment.num_made
            for value, num_bytes in moment.alive.items():
                maker = makers[value]
                if not (is_inside and maker is moment.equation):
                    yield Held(num_bytes, value.aval, maker, ())
            for jaxpr in _inner_jaxprs(moment.equation):
                if is_inside and inner[id(jaxpr)] == max(inner.values()):
                    for one in self.held(jaxpr):
                        scope = str(moment.equation.source_info.name_stack)
                        yield one._replace(scopes=(scope, *one.scopes))
                    return
            return

    def _moments(self, jaxpr: Any, free: Iterable[Any]) -> Iterator[_Moment]:
        """Yields what is there while each operation runs; `alive` changes afterwards."""
        used = _Uses.of(jaxpr)
        costs_nothing = {v for v in free if isinstance(v, core.Var)}
        alive: dict[Any, int] = {}
        for i, equation in enumerate(jaxpr.eqns):
            outputs = [v for v in equation.outvars if v in used.last_use]
            if not outputs and not equation.effects:
                continue  # the compiler leaves it out
            is_fused = _is_fused(equation)
            if is_fused or equation.primitive.name in _IN_PLACE:
                _drop(alive, used.ends_at(i))
            now = sum(alive.values())
            made = {
                v: self.splits.num_bytes(v)
                for v in outputs
                if v not in used.fused and v not in costs_nothing
            }
            alive |= made
            num_made = sum(made.values())
            num_bytes = now + self._while_it_runs(equation, num_made)
            yield _Moment(equation, alive, num_made, num_bytes)
            _drop(alive, used.ends_at(i))

    def _while_it_runs(self, equation: Any, made: int) -> int:
        """Returns the bytes that an operation takes, with its results."""
        name = equation.primitive.name
        inner = [self.peak(jaxpr) for jaxpr in _inner_jaxprs(equation)]
        if name in _LOOPS:
            return made + max(inner, default=0)
        if inner:
            return max(made, *inner)
        if name not in _CONTRACTIONS:
            return made
        operands = (v for v in equation.invars if isinstance(v, core.Var))
        gathered = sum(
            self.splits.num_bytes(v, is_gathered=True) - self.splits.num_bytes(v)
            for v in (*operands, *equation.outvars)
        )
        return made + gathered


@dataclasses.dataclass(frozen=True)
class _Uses:
    """When each value of a jaxpr is needed for the last time.

    Attributes:
      last_use: Value -> number of the equation; those that are returned have one more
        than the last. Values that nothing needs are not in it.
      fused: Values that are never stored.
      by_equation: Number of an equation -> values that are needed no more after it.
    """

    last_use: Mapping[Any, int]
    fused: frozenset[Any]
    by_equation: Mapping[int, list[Any]]

    @classmethod
    def of(cls, jaxpr: Any) -> _Uses:
        end = len(jaxpr.eqns)
        last_use = {v: end for v in jaxpr.outvars if isinstance(v, core.Var)}
        readers: dict[Any, list[Any]] = {v: [None] for v in last_use}
        fused: set[Any] = set()
        for i in reversed(range(end)):
            equation = jaxpr.eqns[i]
            outputs = [v for v in equation.outvars if v in last_use]
            if not outputs and not equation.effects:
                continue
            if _is_fused(equation) and all(_fits_in(readers[v]) for v in outputs):
                fused.update(outputs)
            # What a fused operation reads is read when its own reader runs.
            time = max((last_use[v] for v in outputs if v in fused), default=i)
            for v in equation.invars:
                if isinstance(v, core.Var):
                    last_use[v] = max(last_use.get(v, i), time)
                    readers.setdefault(v, []).append(equation)
        by_equation: dict[int, list[Any]] = {}
        for v, i in last_use.items():
            by_equation.setdefault(i, []).append(v)
        return cls(last_use, frozenset(fused), by_equation)

    def ends_at(self, number: int) -> list[Any]:
        return self.by_equation.get(number, [])


def _fits_in(readers: list[Any]) -> bool:
    """Whether a value is read once, by an operation that can make it for itself."""
    (reader, *others) = readers
    if others or reader is None:
        return False
    return _is_fused(reader) or reader.primitive.name in _REDUCTIONS


def _is_fused(equation: Any) -> bool:
    name, inner = equation.primitive.name, _inner_jaxprs(equation)
    if inner and name not in _LOOPS and name != "cond":
        return all(_is_fused(e) for jaxpr in inner for e in jaxpr.eqns)
    return name in _FUSED


def _inner_jaxprs(equation: Any) -> list[Any]:
    """Returns the programs that an operation runs."""
    name, params = equation.primitive.name, equation.params
    if name == "while":
        found = [params["body_jaxpr"]]
    elif name == "cond":
        found = list(params["branches"])
    else:
        keys = ("jaxpr", "call_jaxpr", "fun_jaxpr")
        found = [params[key] for key in keys if key in params][:1]
    return [getattr(jaxpr, "jaxpr", jaxpr) for jaxpr in found]


def _constrained(jaxpr: Any) -> Iterator[tuple[_Shape, _Shape]]:
    """Yields the shape of each value that is constrained, and that of a device's part."""
    for equation in jaxpr.eqns:
        sharding = equation.params.get("sharding")
        if equation.primitive.name == "sharding_constraint" and sharding is not None:
            shape = tuple(equation.outvars[0].aval.shape)
            yield shape, tuple(sharding.shard_shape(shape))
        for inner in _inner_jaxprs(equation):
            yield from _constrained(inner)


def _drop(alive: dict[Any, int], values: Iterable[Any]) -> None:
    for value in values:
        alive.pop(value, None)


def _axes_of(spec: Any) -> list[tuple[str, ...]]:
    """Returns the mesh axes of each axis of an array."""
    entries: tuple[Any, ...] = ()
    if isinstance(spec.sharding, NamedSharding):
        entries = tuple(spec.sharding.spec)
    padded = [*entries, *[None] * (len(spec.shape) - len(entries))]
    return [
        () if e is None else (e,) if isinstance(e, str) else tuple(e) for e in padded
    ]


def _itemsize(aval: Any) -> int:
    is_key = jnp.issubdtype(aval.dtype, jax.dtypes.extended)
    return aval.dtype.itemsize if is_key else np.dtype(aval.dtype).itemsize
