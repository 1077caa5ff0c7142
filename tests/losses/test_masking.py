"""What is masked leaves no trace: the loss and its gradient are those without it."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kontext, losses
from kauldron.losses import _masking
from tests.losses.test_contract import CASES
from tests.metrics import contract

# Numbers that spoil a sum, or overflow when they are squared or exponentiated, and 0,
# where logarithms, quotients and norms have no derivative.
_GARBAGE = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e4, 0.0]


@functools.cache
def _value_and_grad(loss):
    def value(floats, rest):
        return loss.get_state(**floats, **rest).mean()

    return jax.jit(jax.value_and_grad(value), compiler_options=contract.COMPILE_FAST)


def _split(inputs):
    floats = {k: v for k, v in inputs.items() if contract.is_float(v)}
    return floats, {k: v for k, v in inputs.items() if k not in floats}


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_gradient_is_that_without_the_masked_examples(case):
    value_and_grad = _value_and_grad(case.metric)
    floats, rest = _split(case.whole)
    keep = case.mask[:, 0]
    value, grads = value_and_grad(
        {k: v[keep] for k, v in floats.items()}, {k: v[keep] for k, v in rest.items()}
    )
    for garbage in _GARBAGE:
        spoilt = {k: v.copy() for k, v in floats.items()}
        for x in spoilt.values():
            x[~keep] = garbage
        actual, actual_grads = value_and_grad(spoilt, {**rest, "mask": case.mask})
        np.testing.assert_allclose(actual, value, rtol=case.f32_rtol)
        # In NumPy: each index into an array of JAX is a program as well.
        for name, grad in jax.device_get(actual_grads).items():
            np.testing.assert_array_equal(grad[~keep], 0)
            # Sums over other numbers of examples are rounded differently.
            np.testing.assert_allclose(grad[keep], grads[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_all_masked_garbage_is_no_loss_and_has_no_gradient(case):
    floats, rest = _split(case.whole)
    garbage = {k: np.full_like(v, np.nan) for k, v in floats.items()}
    value, grads = _value_and_grad(case.metric)(
        garbage, {**rest, "mask": np.zeros_like(case.mask)}
    )
    assert value == 0
    for grad in jax.tree.leaves(grads):
        np.testing.assert_array_equal(grad, 0)


_x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
_l2 = losses.L2(preds="p", targets="t")


def _gradient(loss, **inputs):
    """Returns the gradient by the first input."""
    name, *_ = inputs
    rest = {k: v for k, v in inputs.items() if k != name}
    return jax.jit(jax.grad(lambda x: loss(**{name: x}, **rest)))(inputs[name])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3), (4, 3, 1), (1, 3), ()])
def test_masks_of_any_dtype_and_shape_hold_back_what_they_mask(dtype, shape):
    mask = (np.arange(np.prod(shape, dtype=int)) % 2 == 0).reshape(shape)
    spread = np.broadcast_to(mask.reshape(shape[:2] + (1,) * (2 - mask.ndim)), (4, 3))
    targets = np.where(spread, _x + 1, np.nan).astype(np.float32)
    grad = _gradient(_l2, preds=_x, targets=targets, mask=mask.astype(dtype))
    np.testing.assert_allclose(grad, np.where(spread, -2 / spread.sum(), 0), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32])
def test_half_precision_inputs_are_held_back_too(dtype):
    mask = np.array([1, 1, 0, 0])
    targets = jnp.asarray(np.where(mask[:, None], _x + 1, np.inf), dtype)
    grad = _gradient(_l2, preds=jnp.asarray(_x, dtype), targets=targets, mask=mask)
    assert grad.dtype == dtype
    expected = np.where(mask[:, None], -2 / 6, 0) * np.ones((4, 3))
    # `x + 1` is rounded: half of the last of 8 bits of numbers below 4.
    np.testing.assert_allclose(np.asarray(grad, np.float32), expected, atol=1e-2)


def test_fractional_masks_weigh_and_only_zero_holds_back():
    mask = np.array([0.25, 1.0, 0.0, 0.5], np.float32)
    targets = np.where(mask[:, None], _x + 1, np.nan).astype(np.float32)
    grad = _gradient(_l2, preds=_x, targets=targets, mask=mask)
    expected = np.broadcast_to(-2 * mask[:, None] / (3 * 1.75), (4, 3))
    np.testing.assert_allclose(grad, expected, rtol=1e-6)


@pytest.mark.parametrize("normalize_by", ["mask", "values"])
@pytest.mark.parametrize("num_kept", [0, 2])
def test_normalising_by_values_counts_the_masked_ones(normalize_by, num_kept):
    loss = dataclasses.replace(_l2, normalize_by=normalize_by)
    mask = np.arange(4) < num_kept
    targets = np.where(mask[:, None], _x + 1, np.nan).astype(np.float32)
    value = loss(preds=_x, targets=targets, mask=mask)
    count = 12 if normalize_by == "values" else 3 * max(num_kept, 1)
    np.testing.assert_allclose(value, 3 * num_kept / count, rtol=1e-6)
    grad = _gradient(loss, preds=_x, targets=targets, mask=mask)
    np.testing.assert_allclose(grad[mask], -2 / count, rtol=1e-6)
    np.testing.assert_array_equal(grad[~mask], 0)


def test_what_is_not_masked_is_never_changed():
    targets = np.where(_x > 0, np.nan, _x).astype(np.float32)
    mask = np.array([1, 0, 1, 1])
    grad = _gradient(_l2, preds=_x, targets=targets, mask=mask)
    np.testing.assert_array_equal(
        np.isnan(grad), np.isnan(targets) & (mask[:, None] > 0)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Nats(losses.Loss):
    """`-log p`, with a scale that is learnt, one for all."""

    probs: kontext.Key = kontext.REQUIRED
    scale: kontext.Key = kontext.REQUIRED

    def get_values(self, probs, scale):
        return -jnp.log(probs) * scale


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 0.0, -1.0])
def test_losses_of_users_are_guarded(garbage):
    loss = _Nats(probs="p", scale="s")
    probs = np.array([0.5, 0.25, garbage], np.float32)
    mask = np.array([1, 1, 0])
    grad = _gradient(loss, probs=probs, scale=np.float32(3), mask=mask)
    np.testing.assert_allclose(grad, [-3, -6, 0], rtol=1e-6)
    if garbage in (0.0, -1.0):
        return  # the logarithm of 0 itself is part of the gradient of the scale
    grad = _gradient(loss, scale=np.float32(3), probs=probs, mask=mask)
    np.testing.assert_allclose(grad, 1.5 * np.log(2), rtol=1e-6)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shared(losses.Loss):
    """An input that several places of an example read, or several examples."""

    x: kontext.Key = kontext.REQUIRED
    y: kontext.Key = kontext.REQUIRED

    def get_values(self, x, y):
        return x.reshape(*x.shape, *(1,) * (y.ndim - x.ndim)) * y


@pytest.mark.parametrize(
    ("shape", "mask", "is_held_back"),
    [
        # Of the first example one place counts; of the second, none.
        ((2,), [[1, 0, 0], [0, 0, 0]], [False, True]),
        ((2, 1), [[1, 0, 0], [0, 0, 0]], [[False], [True]]),
        ((1, 3), [[1, 0, 0], [1, 1, 0]], [[False, False, True]]),
        # However little it counts.
        ((2,), [[1e-6, 0, 0], [0.25, 0, 0]], [False, False]),
    ],
)
def test_what_anything_that_counts_has_read_is_not_held_back(shape, mask, is_held_back):
    y, mask = np.ones((2, 3), np.float32), np.array(mask, np.float32)
    for index in np.ndindex(shape):
        x = np.ones(shape, np.float32)
        x[index] = np.nan
        grad = _gradient(_Shared(x="x", y="y"), y=y, x=x, mask=mask)
        is_seen = np.isnan(grad).any()
        assert is_seen != np.array(is_held_back)[index]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Roughness(losses.Loss):
    """Differences of neighbours in time: a step may be masked, and be a neighbour."""

    x: kontext.Key = kontext.REQUIRED

    def get_values(self, x):
        return jnp.square(x - jnp.roll(x, 1, axis=-1))


def test_finite_neighbours_of_what_counts_keep_their_part():
    mask = np.array([[1, 0, 1]] * 4)
    grad = _gradient(_Roughness(x="x"), x=_x, mask=mask)
    d0, d2 = _x[:, 0] - _x[:, 2], _x[:, 2] - _x[:, 1]
    expected = np.stack([d0, -d2, d2 - d0], axis=1) * 2 / 8
    np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-6)


def test_neighbours_of_masked_images_and_channels_are_those_of_the_others():
    rng = np.random.default_rng(1)
    # As many rows as channels: the axes of the mask are known by meaning, not by size.
    preds, targets = rng.normal(size=(2, 3, 3, 4, 3)).astype(np.float32)
    mask = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1]])
    spoilt = np.where(mask[:, None, None], targets, np.nan).astype(np.float32)
    loss = losses.NormalizedCrossCorrelation(preds="p", targets="t")
    for name in ("preds", "targets"):
        inputs = {"preds": preds, "targets": spoilt, "mask": mask}
        inputs = {name: inputs.pop(name), **inputs}
        expected = _gradient(loss, **{**inputs, "targets": targets})
        grad = _gradient(loss, **inputs)
        np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_masked_classes_of_regions_have_no_gradient(activation):
    rng = np.random.default_rng(1)
    logits = rng.uniform(0.1, 0.9, size=(3, 3, 4, 3)).astype(np.float32)
    labels = rng.integers(2, size=(3, 3, 4, 3)).astype(np.float32)
    mask = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1]])
    loss = losses.DiceLoss(logits="l", labels="t", activation=activation)
    expected = _gradient(loss, logits=logits, labels=labels, mask=mask)
    is_masked = np.broadcast_to(mask[:, None, None] == 0, logits.shape)
    labels = np.where(is_masked, np.nan, labels).astype(np.float32)
    # A softmax needs the scores of classes that do not count themselves.
    is_unused = (
        is_masked.all(-1, keepdims=True) if activation == "softmax" else is_masked
    )
    spoilt = np.where(is_unused, np.nan, logits).astype(np.float32)
    grad = _gradient(loss, logits=spoilt, labels=labels, mask=mask)
    np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-7)


def test_inputs_given_by_position_are_held_back_as_those_given_by_name():
    seen = []

    class Product(losses.Loss):
        def get_values(self, x, y, scale=None):
            return x * y if scale is None else x * y * scale

        def _is_masked(self, name, mask, shape):
            seen.append(name)
            return super()._is_masked(name, mask, shape)

    x, y = _x, _x + 1
    expected = Product().get_state(x=x, y=y, scale=x, mask=x > 0).mean()
    assert seen == ["x", "y", "scale"]
    seen.clear()
    assert Product().get_state(x, y, scale=x, mask=x > 0).mean() == expected
    assert seen == ["x", "y", "scale"]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("last", [(), (1,), (2,)])
def test_places_outside_of_the_region_leave_no_trace(activation, last):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(3, 5, 2)).astype(np.float32)
    labels = rng.integers(2, size=(3, 5, 1))
    region = np.arange(5) < 3
    loss = losses.DiceLoss(logits="l", labels="t", activation=activation)
    expected = _gradient(loss, logits=logits[:, :3], labels=labels[:, :3])
    mask = np.broadcast_to(region.reshape(5, *(1,) * len(last)), (3, 5, *last))
    spoilt = np.where(region[:, None], logits, np.nan).astype(np.float32)
    grad = _gradient(loss, logits=spoilt, labels=labels, region_mask=mask)
    np.testing.assert_allclose(grad[:, :3], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(grad[:, 3:], 0)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 3e38])
def test_missing_items_of_a_ranking_leave_no_trace(garbage):
    loss = losses.PairwiseRanking(logits="l", labels="t", item_mask="m")
    logits, labels = np.array([[1.0, 2.0, 0.5]], np.float32), np.array([[1, 0, 2]])
    expected = _gradient(loss, logits=logits, labels=labels)
    grad = _gradient(
        loss,
        logits=np.array([[1.0, 2.0, garbage, 0.5, -garbage]], np.float32),
        labels=np.array([[1, 0, 9, 2, -1]]),
        item_mask=np.array([[1, 1, 0, 1, 0]]),
    )
    np.testing.assert_allclose(grad[:, [0, 1, 3]], expected, rtol=1e-6)
    np.testing.assert_array_equal(grad[:, [2, 4]], 0)


@pytest.mark.parametrize(
    ("loss", "plain"),
    [
        (_l2, lambda p, t: jnp.square(p - t).mean()),
        (losses.Huber(preds="p", targets="t"), None),
        (losses.CosineDistance(preds="p", targets="t"), None),
    ],
    ids=lambda x: type(x).__name__,
)
def test_without_a_mask_the_compiled_program_is_that_of_the_formula(loss, plain):
    def instructions(function):
        compiled = jax.jit(jax.value_and_grad(function)).lower(_x, _x + 1).compile()
        lines = compiled.as_text().splitlines()
        return sum(" = " in line for line in lines), compiled.cost_analysis()["flops"]

    plain = plain or (lambda p, t: loss.get_values(p, t).mean())
    ours = instructions(lambda p, t: loss.get_state(preds=p, targets=t).mean())
    assert ours == instructions(plain)


def test_what_is_masked_and_not_finite_is_all_that_is_replaced():
    x = np.array([1, np.nan, 2, np.nan, np.inf, -np.inf], np.float32)
    is_masked = np.array([0, 0, 1, 1, 1, 1], bool)
    y = np.asarray(_masking.guard(jnp.asarray(x), jnp.asarray(is_masked)))
    np.testing.assert_array_equal(y[:3], x[:3])
    assert np.isfinite(y[3:]).all()


def test_gradient_passes_unless_it_or_the_masked_value_is_not_finite():
    x = np.array([1, 1, np.nan, 1, 1, 1, np.nan, np.inf], np.float32)
    is_masked = np.array([0, 0, 0, 1, 1, 1, 1, 1], bool)
    gradient = np.array([2, np.nan, 2, 2, np.nan, np.inf, 2, 2], np.float32)
    _, pull_back = jax.vjp(_masking.guard, jnp.asarray(x), jnp.asarray(is_masked))
    found, _ = pull_back(jnp.asarray(gradient))
    np.testing.assert_array_equal(found, [2, np.nan, 2, 2, 0, 0, 0, 0])


@pytest.mark.parametrize(
    "function",
    [
        jnp.reciprocal,
        jnp.arctanh,
        lambda x: jnp.log(x) / (1 - x),
    ],
)
def test_what_stands_in_for_garbage_is_nowhere_singular(function):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Scaled(losses.Loss):
        x: kontext.Key = kontext.REQUIRED
        scale: kontext.Key = kontext.REQUIRED

        def get_values(self, x, scale):
            return function(x) * scale

    x = np.array([0.25, np.nan], np.float32)
    inputs = {"scale": np.float32(3), "x": x, "mask": np.array([1, 0])}
    # All elements have part in the gradient of what they share: 0 times the stand-in's.
    grad = _gradient(Scaled(x="x", scale="s"), **inputs)
    np.testing.assert_allclose(grad, function(jnp.float32(0.25)), rtol=1e-6)


@pytest.mark.parametrize(
    ("mask", "shape", "expected"),
    [
        ([1, 0], (2, 3), [[False], [True]]),
        ([[1, 0], [0, 0]], (2,), [False, True]),
        # The second axis is another one: all along that of the mask has to be masked.
        ([[1, 0], [0, 0]], (2, 5), [[False], [True]]),
        # And those behind it are not looked at.
        ([[[1, 0], [0, 1]], [[0, 0], [0, 0]]], (2, 5, 2), [[[False]], [[True]]]),
        ([[1], [0]], (2, 5), [[False], [True]]),
        ([[1, 0], [0, 0]], (1, 2), [[False, True]]),
        ([1, 0], (3, 2), None),
        ([1, 0], (), None),
        ([0, 0], (3, 2), None),
        (1.0, (2, 3), [[False]]),
        (0.0, (2, 3), [[True]]),
    ],
)
def test_masks_are_those_of_the_leading_axes_of_inputs(mask, shape, expected):
    found = _masking.leading(np.array(mask, np.float32), shape)
    if expected is None:
        assert found is None
        return
    np.broadcast_shapes(found.shape, shape)
    np.testing.assert_array_equal(found, expected)


def test_complex_inputs_are_held_back_too():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Power(losses.Loss):
        z: kontext.Key = kontext.REQUIRED
        scale: kontext.Key = kontext.REQUIRED

        def get_values(self, z, scale):
            return jnp.square(jnp.abs(z)) * scale

    z = np.array([3 + 4j, np.nan, np.inf * 1j], np.complex64)
    mask = np.array([1, 0, 0])
    grad = _gradient(Power(z="z", scale="s"), scale=np.float32(1), z=z, mask=mask)
    np.testing.assert_allclose(grad, 25, rtol=1e-6)
