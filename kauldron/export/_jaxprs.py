"""Reading a traced program: what it reads, what it cannot take along, whether it is pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.extend.core
import jax.numpy as jnp
import numpy as np

from kauldron._base import scan_parameters
from kauldron.export._errors import ExportError

_CALLBACKS = (
    "debug_callback",
    "debug_print",
    "io_callback",
    "pure_callback",
    "python_callback",
)

# They run the jaxpr inside of them, on their inputs.
CALLS = (
    "checkpoint",
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "jit",
    "pjit",
    "remat2",
)


class Operation(NamedTuple):
    """An operation of a program.

    Attributes:
      equation: Of the jaxpr.
      scope: Names of modules and functions it is in, from the outside in.
      constants: Those of its inputs that are known when it is traced.
    """

    equation: Any
    scope: str
    constants: tuple[Any, ...]

    @property
    def name(self) -> str:
        """Of the primitive, such as `dot_general`."""
        return self.equation.primitive.name

    @property
    def where(self) -> str:
        """The module, in words."""
        return where(self.scope)


def where(scope: str) -> str:
    """Returns the module that a scope stands for, in words."""
    path = ".".join(part for part in scope.split("/")[1:] if part)
    return f"in the module {path!r}" if path else "in the model itself"


def operations(
    jaxpr: Any, scope: str = "", constants: Sequence[Any] = ()
) -> Iterator[Operation]:
    """Yields the operations of a jaxpr, each before those inside of it."""
    if isinstance(jaxpr, jax.extend.core.ClosedJaxpr):
        jaxpr, constants = jaxpr.jaxpr, jaxpr.consts
    known = dict(zip(map(id, jaxpr.constvars), constants, strict=False))
    for equation in jaxpr.eqns:
        inner = f"{scope}/{equation.source_info.name_stack}".strip("/")
        values = tuple(
            x.val if isinstance(x, jax.extend.core.Literal) else known[id(x)]
            for x in equation.invars
            if isinstance(x, jax.extend.core.Literal) or id(x) in known
        )
        yield Operation(equation, inner, values)
        for child in children(equation):
            yield from operations(child, inner)


def children(equation: Any) -> Iterator[Any]:
    """Yields the jaxprs inside of an equation."""
    for value in equation.params.values():
        for child in value if isinstance(value, tuple | list) else (value,):
            if isinstance(child, jax.extend.core.ClosedJaxpr | jax.extend.core.Jaxpr):
                yield child


def needed(
    jaxpr: Any, wanted: Sequence[bool] | None = None
) -> tuple[list[tuple[Any, list[bool]]], list[bool]]:
    """Returns what the outputs of a jaxpr need.

    Args:
      jaxpr: The program.
      wanted: Which of its outputs are; all unless given.

    Returns:
      The equations, each with which of its outputs are wanted; and which inputs are read.
    """
    wanted = [True] * len(jaxpr.outvars) if wanted is None else wanted
    pairs = zip(jaxpr.outvars, wanted, strict=True)
    variables = {id(x) for x, is_wanted in pairs if is_wanted}
    equations = []
    for equation in reversed(jaxpr.eqns):
        of_it = [id(x) in variables for x in equation.outvars]
        if equation.effects or any(of_it):
            equations.append((equation, of_it))
            is_read = zip(equation.invars, _reads(equation, of_it), strict=True)
            variables |= {id(x) for x, yes in is_read if yes}
    return equations[::-1], [id(x) in variables for x in jaxpr.invars]


def _reads(equation: Any, wanted: Sequence[bool]) -> list[bool]:
    """Returns which inputs of an equation the wanted ones of its outputs need."""
    name = equation.primitive.name
    if equation.effects or name not in (*CALLS, "scan"):
        return [True] * len(equation.invars)
    child = next(children(equation))
    if name == "scan":
        wanted = wanted_of_step(equation, wanted)
    return needed(getattr(child, "jaxpr", child), wanted)[1]


def wanted_of_step(equation: Any, wanted: Sequence[bool]) -> list[bool]:
    """Returns which outputs of a step of a scan are wanted, by the next one too."""
    first, num_carry = scan_parameters.counts(equation.params)
    body, carried = equation.params["jaxpr"].jaxpr, slice(first, first + num_carry)
    while True:
        is_read = needed(body, wanted)[1][carried]
        both = [a or b for a, b in zip(wanted, is_read, strict=False)]
        grown = [*both, *wanted[len(both) :]]
        if grown == list(wanted):
            return grown
        wanted = grown


def check_callbacks(found: Iterable[Operation]) -> None:
    """Finds calls of Python.

    Raises:
      ExportError: Names the module and what to do.
    """
    for operation in found:
        if operation.name in _CALLBACKS:
            raise ExportError(
                f"The model calls Python while it runs (`{operation.name}`) "
                f"{operation.where}: an exported program has no Python to call. Compute "
                "it with `jax.numpy`, and leave out `jax.debug.print`, `io_callback` and "
                "the like when `is_training` is false."
            )


def check_one_device(found: Iterable[Operation]) -> None:
    """Finds arrays that are placed on several devices.

    Raises:
      ExportError: Names the module and what to do.
    """
    for operation in found:
        placement = operation.equation.params.get("sharding")
        num_devices = getattr(placement, "num_devices", 1)
        if operation.name == "sharding_constraint" and num_devices > 1:
            raise ExportError(
                f"The model places an array on {num_devices} devices {operation.where}: "
                "a program is exported for one. Export it in a process that sees a single "
                "device, with a mesh of one."
            )


def check_same(first: Any, second: Any) -> None:
    """Compares two traces of one model: a Python side effect makes them differ.

    Raises:
      ExportError: Names the module of the first difference.
    """
    for one, other in itertools.zip_longest(operations(first), operations(second)):
        at = one or other
        if at is not None and not _is_same(one, other):
            raise ExportError(
                f"The model computes something else when it is traced again, {at.where} "
                f"(`{at.name}`): it depends on Python state, such as a counter, a clock "
                "or `np.random`. Make what changes an input or a variable, or draw it "
                "with `self.make_rng(...)`."
            )


def _is_same(one: Operation | None, other: Operation | None) -> bool:
    if one is None or other is None:
        return False
    if (one.name, one.scope) != (other.name, other.scope):
        return False
    if _shapes(one) != _shapes(other) or len(one.constants) != len(other.constants):
        return False
    pairs = zip(one.constants, other.constants, strict=True)
    return all(_bytes(a) == _bytes(b) for a, b in pairs)


def _shapes(operation: Operation) -> tuple[str, ...]:
    equation = operation.equation
    return tuple(str(x.aval) for x in (*equation.invars, *equation.outvars))


def _bytes(value: Any) -> bytes:
    dtype = getattr(value, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    return np.asarray(value).tobytes()
