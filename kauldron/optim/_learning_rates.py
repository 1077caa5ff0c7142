"""Extracts the learning rates from inside an optimizer, for logging.

Optax keeps no record of them: an optimizer is a pair of functions, and the learning rate
is a variable that some inner function holds on to. So we look at what the functions hold.
The optimizers of optax are covered (a test lists them), apart from a constant given to
`inject_hyperparams`, which lives in the state. A third-party transformation
is covered if its learning rate goes through `optax.scale`,
`optax.scale_by_schedule` or `optax.scale_by_learning_rate`, or is a variable that is named
`learning_rate`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import itertools
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import optax

from kauldron.ktyping import Scalar

# From the number of updates applied so far to the learning rate of the next one.
Schedule = Callable[[Any], Any]

_DECLARED = "__kauldron_learning_rates__"


def learning_rates(optimizer: object) -> dict[str, Schedule]:
    """Returns the learning rates of an optimizer, as functions of the step.

    The factors along a chain are multiplied, so `optax.scale(0.5)` behind `optax.adam`
    halves the rate. Where parts of the parameters have rates of their own
    (`kd.optim.by_path`, `optax.partition`, masks in a `named_chain`), each has an entry.

    Args:
      optimizer: Anything optax makes, and what is built of it.

    Returns:
      Name of the part -> schedule. The name is `''` if there is one rate for all; empty if
      none is found.
    """
    if optimizer is None:
        return {}
    found = _of_transformation(optimizer)
    return {name: factor.as_rate() for name, factor in found.items() if factor.is_rate}


def schedules_to_log(
    optimizer: object, schedules: Mapping[str, Schedule]
) -> dict[str, Schedule]:
    """Returns schedules, and the learning rates of an optimizer, compiled.

    Args:
      optimizer: As for `learning_rates`. Each rate that is not among the schedules is
        `learning_rate` or `learning_rate/<part>`, in place of a schedule of that name: a
        flag may have given the optimizer another rate.
      schedules: Name -> function of the step.
    """
    given = list(schedules.values())
    rates = {
        "/".join(filter(None, ("learning_rate", part))): rate
        for part, rate in learning_rates(optimizer).items()
        if not any(rate is other for other in given)
    }
    return {name: _compiled(fn) for name, fn in {**schedules, **rates}.items()}


def _compiled(schedule: Schedule) -> Schedule:
    # An optimizer runs its schedules inside jit; outside, each operation of a schedule is
    # compiled by itself.
    if _is_constant(schedule):
        return schedule
    in_jit = jax.jit(schedule)
    is_plain_python = False

    def compiled(step: Scalar) -> Any:
        nonlocal is_plain_python
        if not is_plain_python:
            try:
                return in_jit(step)
            except jax.errors.JAXTypeError:  # such as `if step < 100`
                is_plain_python = True
        return schedule(step)

    return compiled


def declare_learning_rates(
    update: Callable[..., Any], rates: Mapping[str, optax.ScalarOrSchedule]
) -> None:
    """Says what the learning rates of an update function are, in place of looking."""
    setattr(update, _DECLARED, dict(rates))


def slowed_down(rate: Schedule, every: int) -> Schedule:
    """Returns the schedule of an optimizer that is run at each `every`-th step only."""
    if every == 1 or _is_constant(rate):
        return rate
    return lambda step: rate(step // every)


@dataclasses.dataclass(frozen=True)
class _Factor:
    """What the updates are multiplied with.

    Attributes:
      scale: Constant part.
      schedules: The other factors.
      descends: Whether there is a minus sign in it, or may be.
      is_masked: Whether it is for some of the parameters only.
      is_known: Whether there is no step size in it that we cannot see.
    """

    scale: float = 1.0
    schedules: tuple[Schedule, ...] = ()
    descends: bool = False
    is_masked: bool = False
    is_known: bool = True

    def __mul__(self, other: _Factor) -> _Factor:
        return _Factor(
            self.scale * other.scale,
            self.schedules + other.schedules,
            self.descends or other.descends,
            is_known=self.is_known and other.is_known,
        )

    @property
    def is_rate(self) -> bool:
        return self.descends and self.is_known

    def as_rate(self) -> Schedule:
        if self.scale == 1 and len(self.schedules) == 1:
            return self.schedules[0]
        if not self.schedules:
            return functools.partial(_constant, self.scale)
        return lambda step: self.scale * math.prod(s(step) for s in self.schedules)


def _constant(value: float, step: Scalar) -> float:
    return value


def _is_constant(rate: Schedule) -> bool:
    return isinstance(rate, functools.partial) and rate.func is _constant


def _magnitude(schedule: Schedule, step: Scalar) -> Any:
    return abs(schedule(step))


_Found = dict[str, _Factor]


def _of_value(value: Any, *, descends: bool) -> _Found:
    if callable(value):
        return {"": _Factor(schedules=(value,), descends=descends)}
    if getattr(value, "ndim", 0) or not _is_number(value):
        return {}
    return {"": _Factor(scale=abs(float(value)), descends=descends)}


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):  # `None`, or a traced array
        return False
    return True


def _of_transformation(transformation: object) -> _Found:
    if isinstance(transformation, optax.MultiSteps):
        return _of_accumulation(transformation)
    return _of_update(getattr(transformation, "update", None))


def _of_accumulation(steps: optax.MultiSteps) -> _Found:
    every = steps._every_k_schedule
    num_steps = every(0)
    if not isinstance(num_steps, int) or num_steps != every(2**20):
        return {}  # how many updates there were at a step is not known beforehand
    return {
        name: dataclasses.replace(
            f, schedules=tuple(slowed_down(s, num_steps) for s in f.schedules)
        )
        for name, f in _of_transformation(steps.inner_opt).items()
    }


def _of_update(update: Any) -> _Found:
    if hasattr(update, _DECLARED):
        return {
            name: factor
            for name, rate in getattr(update, _DECLARED).items()
            for factor in _of_value(rate, descends=True).values()
        }
    if isinstance(getattr(update, "__self__", None), optax.MultiSteps):
        return _of_accumulation(update.__self__)
    if not inspect.isfunction(update):
        return {}
    held = _held_by(update)
    maker = update.__qualname__.partition(".<locals>")[0]
    if maker in _READERS and update.__module__.startswith("optax."):
        return _READERS[maker](held)
    return _of_wrapper(held)


def _held_by(function: types.FunctionType) -> dict[str, Any]:
    """Returns the variables of the functions around it that a function uses."""
    names = function.__code__.co_freevars
    held = {}
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not assigned yet
            held[name] = cell.cell_contents
    return held


def _of_wrapper(held: Mapping[str, Any]) -> _Found:
    """What wraps other transformations; or else has a rate of its own."""
    inner = [
        (name, _of_transformation(value))
        for name, value in held.items()
        if isinstance(value, optax.GradientTransformation | optax.MultiSteps)
    ]
    found = _in_a_row(inner)
    return found or _of_value(held.get("learning_rate"), descends=True)


def _in_a_row(parts: Sequence[tuple[str, _Found]]) -> _Found:
    """Multiplies the factors of a chain; masked parts have rates of their own."""
    common: _Found = {}
    branches: _Found = {}
    for part, found in parts:
        for name, factor in list(found.items()):
            if factor.is_masked:
                del found[name]
                if factor.is_rate:
                    branches[_join(part, name)] = factor
        if found and common:
            common = {
                _join(a, b): x * y
                for (a, x), (b, y) in itertools.product(common.items(), found.items())
            }
        common = common or found
    return (
        common | _unnamed_if_alone(branches) if common else _unnamed_if_alone(branches)
    )


def _join(a: str, b: str) -> str:
    return "/".join(filter(None, (a, b)))


def _unnamed_if_alone(found: _Found) -> _Found:
    return {"": next(iter(found.values()))} if len(found) == 1 else found


def _of_schedule(held: Mapping[str, Any]) -> _Found:
    schedule = held["step_size_fn"]
    if inspect.isfunction(schedule):
        inner = _held_by(schedule)
        if inner.keys() == {"m", "learning_rate"}:  # of `scale_by_learning_rate`
            return _of_value(inner["learning_rate"], descends=inner["m"] < 0)
    # Its sign is not known.
    return _of_value(functools.partial(_magnitude, schedule), descends=True)


def _of_scale(held: Mapping[str, Any]) -> _Found:
    step_size = held["step_size"]
    is_negative = _is_number(step_size) and float(step_size) < 0
    return _of_value(step_size, descends=is_negative)


def _of_chain(held: Mapping[str, Any]) -> _Found:
    updates = held["update_fns"]
    return _in_a_row([(str(i), _of_update(u)) for i, u in enumerate(updates)])


def _of_named_chain(held: Mapping[str, Any]) -> _Found:
    return _in_a_row([(n, _of_transformation(t)) for n, t in held["transforms"]])


def _of_partition(held: Mapping[str, Any]) -> _Found:
    found = {
        _join(str(label), name): factor
        for label, transformation in held["transforms"].items()
        for name, factor in _of_transformation(transformation).items()
        if factor.is_rate
    }
    return _unnamed_if_alone(found)


def _of_masked(held: Mapping[str, Any]) -> _Found:
    return {
        name: dataclasses.replace(factor, is_masked=True)
        for name, factor in _of_wrapper(held).items()
    }


def _of_injected(held: Mapping[str, Any]) -> _Found:
    # A constant is kept in the state, where it may be changed.
    rate = held["sched_hps"].get("learning_rate")
    return _of_value(getattr(rate, "schedule_fn", rate), descends=True)


def _of_own_steps(held: Mapping[str, Any]) -> _Found:
    return {"": _Factor(is_known=False)}  # each number has a step size


# By the function of optax that makes the update function.
_READERS: Mapping[str, Callable[[Mapping[str, Any]], _Found]] = {
    "chain": _of_chain,
    "inject_hyperparams": _of_injected,
    "masked": _of_masked,
    "named_chain": _of_named_chain,
    "partition": _of_partition,
    "scale": _of_scale,
    "scale_by_rprop": _of_own_steps,
    "scale_by_schedule": _of_schedule,
}
