"""The contract of metrics and losses: laws that every member keeps.

A member is one `Case` in a list. `@laws(CASES)` makes a class of the tests of this file.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import ktyping as kt
from kauldron import metrics, sharding

# Most of the time is spent compiling.
COMPILE_FAST = {"xla_backend_optimization_level": 0}
NUM_EXAMPLES = 24  # three batches of eight; three for each of eight devices


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A member and what it is measured with.

    Attributes:
      metric: The member.
      inputs: Function `(rng, num_examples) -> arguments` without the mask; the examples
        are the first axis.
      oracle: Function `(mask, **arguments in f64) -> value` by other means; the mask is
        an array of the shape below, or `None`.
      mask_shape: Shape of the mask after the first axis; `None` if there is no mask.
      f32_rtol: Tolerance in single precision, also the absolute one.
      is_mean_of_examples: Whether batches merge to the value of them as one batch.
      has_order: Whether merging is not commutative (the first examples are kept).
      is_fine_in_bf16: Whether inputs may be bf16.
    """

    metric: metrics.Metric
    inputs: Callable[[np.random.Generator, int], dict[str, np.ndarray]]
    oracle: Callable[..., Any] | None = None
    mask_shape: tuple[int, ...] | None = (1,)
    f32_rtol: float = 2e-5
    is_mean_of_examples: bool = True
    has_order: bool = False
    is_fine_in_bf16: bool = True

    @property
    def name(self) -> str:
        return type(self.metric).__name__

    @functools.cached_property
    def whole(self) -> dict[str, np.ndarray]:
        return self.inputs(np.random.default_rng(0), NUM_EXAMPLES)

    @functools.cached_property
    def parts(self) -> list[dict[str, np.ndarray]]:
        at = [slice(i, i + NUM_EXAMPLES // 3) for i in range(0, NUM_EXAMPLES, 8)]
        return [{k: v[s] for k, v in self.whole.items()} for s in at]

    @functools.cached_property
    def mask(self) -> np.ndarray:
        # As many as in a part: a shape that is compiled already.
        keep = np.random.default_rng(1).permutation(NUM_EXAMPLES)[:, None] < 8
        mask = np.broadcast_to(keep, (NUM_EXAMPLES, int(np.prod(self.mask_shape))))
        return mask.reshape(NUM_EXAMPLES, *self.mask_shape).copy()

    @functools.cached_property
    def jitted(self) -> Any:
        return jax.jit(
            lambda kwargs: self.metric.get_state(**kwargs),
            compiler_options=COMPILE_FAST,
        )

    @functools.cached_property
    def states(self) -> list[metrics.State]:
        return [self.jitted(part) for part in self.parts]

    @functools.cached_property
    def whole_value(self) -> Any:
        """Value of all examples, over eight devices."""
        placed = sharding.device_put(self.whole, sharding.FIRST_DIM)
        return value(self.jitted(placed))


def value(state: metrics.State) -> Any:
    return state.finalize().compute()


def assert_close(actual: Any, expected: Any, *, rtol: float) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def is_float(x: Any) -> bool:
    return np.issubdtype(np.asarray(x).dtype, np.floating)


def assert_not_infinite(values: Any) -> None:
    """Raises if a value is infinite; NaN is a value that is undefined.

    Which of them are is in the tables of dtypes.
    """
    assert not any(np.isinf(leaf).any() for leaf in jax.tree.leaves(values))


def laws(cases: list[Case], *, without: str | None = None) -> Callable[[type], type]:
    """Adds a test of every law, for every case; `without` leaves out one law."""

    def add(cls: type) -> type:
        for name, law in vars(_Laws).items():
            if name.startswith("test_") and name != without:
                chosen = [c for c in cases if _applies(name, c)]
                ids = [c.name for c in chosen]
                # A copy: marks belong to the function, not to the class.
                marked = pytest.mark.parametrize("case", chosen, ids=ids)(_copy(law))
                setattr(cls, name, marked)
        return cls

    return add


def _copy(law: Callable[..., None]) -> Callable[..., None]:
    return types.FunctionType(law.__code__, law.__globals__, law.__name__)


def _applies(law: str, case: Case) -> bool:
    if "mask" in law and case.mask_shape is None:
        return False
    if "one_batch" in law and not case.is_mean_of_examples:
        return False
    if "half_precision" in law:
        has_floats = any(is_float(x) for x in case.whole.values())
        return has_floats and case.is_fine_in_bf16
    return case.oracle is not None or "oracle" not in law


@kt.typechecked(fields="arrays")
def look_at_fields(state: metrics.State) -> None:
    """Raises unless the fields of a state, and of states in it, are as annotated."""


class _Laws:
    def test_fields_of_states_are_as_annotated(self, case):
        a, b, _ = case.states
        for state in (a, a.finalize(), a.merge(b).finalize()):
            look_at_fields(state)

    def test_merging_is_associative_and_commutative(self, case):
        a, b, c = case.states
        expected = value(a.merge(b).merge(c))
        assert_close(value(a.merge(b.merge(c))), expected, rtol=1e-6)
        if not case.has_order:
            assert_close(value(c.merge(b).merge(a)), expected, rtol=1e-6)

    def test_merged_batches_equal_one_batch(self, case):
        merged = functools.reduce(lambda a, b: a.merge(b), case.states)
        assert_close(value(merged), case.whole_value, rtol=case.f32_rtol)

    def test_merging_inside_jit_equals_merging_outside(self, case):
        a, b, _ = case.states
        merge = jax.jit(lambda a, b: a.merge(b), compiler_options=COMPILE_FAST)
        merged = merge(a, b)
        assert_close(value(merged), value(a.merge(b)), rtol=case.f32_rtol)

    def test_empty_is_the_identity_of_merge(self, case):
        state, empty = case.states[0], case.metric.empty()
        expected = value(state)
        for merged in (
            empty.merge(state),
            state.merge(empty),
            empty.finalize().merge(empty).merge(state.finalize()),
        ):
            assert_close(value(merged), expected, rtol=1e-6)
            assert merged.parent == state.parent

    def test_finalize_is_idempotent_and_merging_goes_on(self, case):
        a, b, _ = case.states
        final = a.merge(b).finalize()
        assert_close(final.finalize().compute(), final.compute(), rtol=1e-6)
        again = a.finalize().merge(b.finalize())
        assert_close(value(again), final.compute(), rtol=1e-6)

    def test_masked_examples_do_not_count(self, case):
        keep = case.mask.reshape(NUM_EXAMPLES, -1)[:, 0]
        kept = {name: x[keep] for name, x in case.whole.items()}
        expected = value(case.jitted(kept))
        spoilt = {name: _spoil(x, ~keep) for name, x in case.whole.items()}
        state = case.jitted({**spoilt, "mask": case.mask})
        assert_close(value(state), expected, rtol=case.f32_rtol)

    def test_all_masked_is_finite_or_undefined(self, case):
        state = case.jitted({**case.whole, "mask": np.zeros_like(case.mask)})
        assert_not_infinite(value(state))

    def test_no_example_at_all_is_finite_or_undefined(self, case):
        assert_not_infinite(value(case.metric.empty()))

    def test_one_example_is_finite_or_undefined(self, case):
        one = {name: x[:1] for name, x in case.whole.items()}
        assert_not_infinite(value(case.jitted(one)))

    def test_half_precision_inputs_are_measured_in_single_precision(self, case):
        part = case.parts[0]
        half = {
            name: jnp.asarray(x, jnp.bfloat16) if is_float(x) else x
            for name, x in part.items()
        }
        single = {
            name: np.asarray(x, np.float32) if is_float(part[name]) else x
            for name, x in half.items()
        }
        expected = value(case.jitted(single))
        assert_close(value(case.jitted(half)), expected, rtol=case.f32_rtol)

    def test_second_call_does_not_compile_again(self, case):
        case.jitted(case.parts[0])
        num_compiled = case.jitted._cache_size()
        case.jitted(case.parts[1])
        assert case.jitted._cache_size() == num_compiled

    def test_eight_devices_equal_one(self, case):
        assert jax.device_count() == 8
        on_one = dict(case.whole)
        if case.mask_shape is not None:
            on_one["mask"] = np.ones_like(case.mask)
        expected = value(case.jitted(on_one))
        assert_close(case.whole_value, expected, rtol=case.f32_rtol)

    def test_value_equals_the_oracle(self, case):
        in_f64 = {
            name: x.astype(np.float64) if is_float(x) else x
            for name, x in case.whole.items()
        }
        expected = case.oracle(None, **in_f64)
        assert_close(case.whole_value, expected, rtol=case.f32_rtol)
        given = {}
        if case.mask_shape is not None:
            given = {"mask": case.mask}
            expected = case.oracle(case.mask, **in_f64)
            state = case.jitted({**case.whole, **given})
            assert_close(value(state), expected, rtol=case.f32_rtol)
        with jax.enable_x64(True):
            assert_close(value(case.jitted({**in_f64, **given})), expected, rtol=1e-6)


def _spoil(x: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Returns the array with values of some examples that would show in any result."""
    x = x.copy()
    x[at] = np.nan if is_float(x) else 0
    return x
