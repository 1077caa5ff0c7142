"""`SharedJit`: compiled programs that serve every function that traces to the same.

What differs between two runs of a config is often a few numbers: the seed, the learning
rate. As constants of a program they would make it another one, to be compiled anew. So
device arrays that a function closes over (the root key) and the numbers inside of
`varying_numbers` (of an optimizer and its schedules) become arguments of the program.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.core
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from kauldron import sharding
from kauldron.ktyping import PyTree
from kauldron.step import _jaxprs, _joined_counts, _program_keys, _repetitions

# In a process that runs one configuration after the other; each holds what XLA has
# compiled, and no arrays of a run.
_MAX_SHARED = 64
_SCOPE = "varying_numbers"


def varying_numbers() -> contextlib.AbstractContextManager[Any]:
    """Numbers in the block, inside of a `SharedJit`, become arguments of the program."""
    return jax.named_scope(_SCOPE)


class _OtherArguments(Exception):
    """A program was called with arguments that it was not made for."""


@dataclasses.dataclass(frozen=True)
class _Program:
    """A program for arguments of certain shapes.

    Attributes:
      run: From constants and the arguments of a function to its result.
      refused: Other arguments that it was called with; JAX counts them as compiled.
    """

    run: Any
    refused: set[Hashable]

    @property
    def num_compiled(self) -> int:
        return self.run._cache_size() - len(self.refused)


@dataclasses.dataclass(frozen=True)
class _Use:
    """A program as one function uses it, with the constants that it gives it.

    Attributes:
      program: The program.
      constants: Its first argument.
      num_before: How many there were before.
      run: What is called, see `sharding.compile_in_turn`.
    """

    program: _Program
    constants: tuple[jax.Array, ...]
    num_before: int
    run: Callable[..., Any]

    @property
    def num_compiled(self) -> int:
        return max(1, self.program.num_compiled - self.num_before)


@dataclasses.dataclass(frozen=True, eq=False)
class SharedJit:
    """`jax.jit` of a function that may run what was compiled for another function.

    Attributes:
      function: Pure, from pytrees of arrays to a pytree of arrays.
      donate_argnums: Arguments whose memory may be taken.
      static_argnames: Arguments that are not arrays, by name only.
      compiler_options: Of XLA.
    """

    function: Callable[..., Any]
    _: dataclasses.KW_ONLY
    donate_argnums: tuple[int, ...] = ()
    static_argnames: tuple[str, ...] = ()
    compiler_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    _uses: dict[Hashable, _Use] = dataclasses.field(default_factory=dict, init=False)
    _latest: dict[Hashable, _Use] = dataclasses.field(default_factory=dict, init=False)

    @functools.cached_property
    def _jitted(self) -> Any:
        return jax.jit(
            self.function,
            donate_argnums=self.donate_argnums,
            static_argnames=self.static_argnames,
            compiler_options=dict(self.compiler_options) or None,
        )

    def __call__(self, *args: Any, **static: Any) -> Any:
        kind = tuple(static.values())
        use = self._latest.get(kind)
        if use is not None:
            try:
                return use.run(use.constants, *args)
            except _OtherArguments:
                pass
        return self._call_another(kind, args, static)

    def trace(self, *args: Any, **static: Any) -> Any:
        """As that of `jax.jit`: a call with arrays like these specs traces no more."""
        return self._jitted.trace(*args, **static)

    def lower(self, *args: Any, **static: Any) -> Any:
        """As that of `jax.jit`; constants are the first argument."""
        use = self._find(args, static)
        return use.program.run.lower(use.constants, *args)

    def _cache_size(self) -> int:
        """Returns how many programs there are, as `jax.jit` does."""
        used = sum(use.num_compiled for use in self._uses.values())
        return used + self._jitted._cache_size()

    def _call_another(
        self, kind: Hashable, args: tuple[Any, ...], static: dict[str, Any]
    ) -> Any:
        leaves, structure = jax.tree.flatten(args)
        if _is_debugged():
            return self._jitted(*args, **static)
        if is_traced():
            return self._call_inside(args, static)
        specs = tuple(map(jax.typeof, leaves))
        key = (kind, structure, specs)
        use = self._uses.get(key)
        if use is None:
            use = self._uses[key] = self._find(args, static)
        self._latest[kind] = use
        return use.run(use.constants, *args)

    def _call_inside(self, args: tuple[Any, ...], static: dict[str, Any]) -> Any:
        """Becomes part of the program that is being traced, as it is alone."""
        traced = self._jitted.trace(*args, **static)
        short = _repetitions.without_repetitions(traced.jaxpr)
        name, leaves = self.function.__name__, jax.tree.leaves(args)
        results = _jaxprs.call(_joined_counts.joined(short), name, *leaves)
        return jax.tree.unflatten(jax.tree.structure(traced.out_info), results)

    def _find(self, args: tuple[Any, ...], static: dict[str, Any]) -> _Use:
        """Returns a program that was compiled before, or a new one."""
        traced = self.trace(*args, **static)
        with jax.transfer_guard("allow"):
            split = _split(_repetitions.without_repetitions(traced.jaxpr))
            constants = _place(split.constants, args)
            key = _program_keys.of_jaxpr(split.closed)
        structures = (jax.tree.structure(args), jax.tree.structure(traced.out_info))
        options = tuple(sorted(self.compiler_options.items()))
        program = _SHARED.get(
            key
            and (key, structures, options, self.donate_argnums, self.function.__name__),
            lambda: self._make(split.closed, *structures),
        )
        num_before = program.num_compiled
        run = sharding.compile_in_turn(program.run, (constants, *args), structures[1])
        return _Use(program, constants, num_before, run)

    def _make(
        self,
        closed: _jaxprs.ClosedJaxpr,
        structure: PyTree,
        out_structure: PyTree,
    ) -> _Program:
        shorter, name = _joined_counts.joined(closed), self.function.__name__

        def program(constants: tuple[Any, ...], *args: Any) -> Any:
            leaves, structure = jax.tree.flatten(args)
            # A call costs by the number of arrays: numbers come together.
            constants = (*constants[:-1], *jnp.unstack(constants[-1]))
            specs = closed.in_avals[len(constants) :]
            given = (structure, tuple(map(_spec, leaves)))
            if given != (wanted, tuple(map(_spec, specs))):
                refused.add(given)
                raise _OtherArguments
            values = map(_weak_as, constants, closed.in_avals)
            results = _jaxprs.call(shorter, name, *values, *leaves)
            return jax.tree.unflatten(out_structure, results)

        wanted = structure
        refused: set[Hashable] = set()
        program.__name__ = program.__qualname__ = name
        jitted = jax.jit(
            program,
            donate_argnums=tuple(i + 1 for i in self.donate_argnums),
            compiler_options=dict(self.compiler_options) or None,
        )
        return _Program(jitted, refused)


def is_traced() -> bool:
    """Whether what runs now becomes part of a program."""
    with jax.transfer_guard("allow"):
        return isinstance(jax.device_put(np.zeros(())), jax.core.Tracer)


def _is_debugged() -> bool:
    """Whether functions are run line by line, or looked at where something is NaN."""
    config: Any = jax.config
    return config.jax_disable_jit or config.jax_debug_nans


def _place(constants: Sequence[jax.Array], args: Any) -> tuple[jax.Array, ...]:
    """Returns arrays where the arguments are; those that have a place keep it."""
    shardings = [getattr(x, "sharding", None) for x in jax.tree.leaves(args)]
    meshes = [s.mesh for s in shardings if isinstance(s, NamedSharding)]
    if not meshes:
        return tuple(constants)
    replicated = NamedSharding(meshes[0], PartitionSpec())
    return tuple(
        x if x.committed else sharding.device_put(x, replicated) for x in constants
    )


def _weak_as(x: Any, spec: Any) -> Any:
    """Returns a constant as weakly typed as it was: arrays of processes are not."""
    is_weak = spec.weak_type and not x.weak_type
    return jax.lax.convert_element_type(x, float) if is_weak else x


def _spec(x: Any) -> tuple[Any, ...]:
    return x.shape, x.dtype, getattr(x, "weak_type", False)


class _Shared:
    """The programs of this process that were used last."""

    def __init__(self) -> None:
        self._programs: dict[Any, _Program] = {}  # the one used last is the last

    def get(self, key: Any, make: Callable[[], _Program]) -> _Program:
        """Returns the program of a key, made if there is none.

        Args:
          key: `None`, or what cannot be hashed, is not kept.
          make: Returns a new program.
        """
        try:
            known = self._programs.pop(key, None)
        except TypeError:
            known = key = None
        program = known or make()
        if key is not None:
            self._programs[key] = program
        while len(self._programs) > _MAX_SHARED:
            del self._programs[next(iter(self._programs))]
        return program


_SHARED = _Shared()


@dataclasses.dataclass(frozen=True)
class _Split:
    """A program whose first arguments were constants.

    Attributes:
      closed: The program.
      constants: The arrays it begins with, and as the last one the numbers after them.
    """

    closed: _jaxprs.ClosedJaxpr
    constants: Sequence[Any]


def _split(closed: _jaxprs.ClosedJaxpr) -> _Split:
    """Makes arguments of arrays and varying numbers of a program."""
    jaxpr = closed.jaxpr
    arrays: dict[_jaxprs.Var, Any] = {}
    numbers: dict[tuple[float, bool], _jaxprs.Var] = {}  # equal ones are one
    kept: list[tuple[_jaxprs.Var, Any]] = []
    for var, value in zip(jaxpr.constvars, closed.consts, strict=True):
        if isinstance(value, jax.Array):
            arrays[var] = value
        else:
            kept.append((var, value))

    def to_argument(atom: Any) -> Any:
        if isinstance(atom, _jaxprs.Var) or not _program_keys.is_varying(atom):
            return atom
        key = (float(atom.val), atom.aval.weak_type)
        return numbers.setdefault(key, _jaxprs.Var(atom.aval))

    equations = [
        equation.replace(invars=[to_argument(x) for x in equation.invars])
        if _SCOPE in str(equation.source_info.name_stack).split("/")
        else equation
        for equation in jaxpr.eqns
    ]
    changed = jaxpr.replace(
        constvars=[var for var, _ in kept],
        invars=[*arrays, *numbers.values(), *jaxpr.invars],
        eqns=equations,
        debug_info=jaxpr.debug_info.with_unknown_names(),
    )
    values = np.array([value for value, _ in numbers], np.float32)
    return _Split(
        _jaxprs.ClosedJaxpr(changed, [value for _, value in kept]),
        [*arrays.values(), jax.device_put(values)],  # `asarray` compiles
    )
