"""The attention function: numbers, gradients, empty rows, memory, errors."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from tests.modules.attention import numpy_attention

_SEGMENTS = np.array([[1, 1, 1, 2, 2, 2, 2, 3, 3, 0], [1] * 4 + [2] * 6], np.int32)
# Case 0 has all options, the others leave some out; 10 queries, 13 keys, 2 x 3 heads.
_CASES = {
    "everything": {
        "bias": (2, 6, 10, 13),
        "mask": (2, 1, 10, 13),
        "is_causal": True,
        "window": 5,
        "positions": True,
        "segments": True,
        "scale": 0.7,
        "softcap": 2.0,
    },
    "plain": {},
    "causal_window": {"is_causal": True, "window": 3},
    "window_of_both_sides": {"window": 4, "bias": (1, 6, 1, 13)},
    "segments_and_mask_of_heads": {"segments": True, "mask": (1, 6, 1, 13)},
    "cache": {
        "positions": True,
        "is_causal": True,
        "bias": (2, 1, 10, 1),
        "softcap": 1.0,
    },
}


def _inputs(seed=0, *, bias=None, mask=None, positions=False, segments=False, **kwargs):
    rng = np.random.default_rng(seed)
    normal = lambda *shape: rng.standard_normal(shape, dtype=np.float32)  # noqa: E731
    arrays = {
        "query": normal(2, 10, 6, 4),
        "key": normal(2, 13, 2, 4),
        "value": normal(2, 13, 2, 5),
    }
    if bias:
        arrays["bias"] = normal(*bias)
    if mask:
        kwargs["mask"] = rng.random(mask) < 0.7
    if positions:
        # The slots of a ring: any order, some of them empty.
        kwargs["query_positions"] = np.stack([np.arange(10), np.arange(3, 13)])
        kwargs["key_positions"] = rng.permuted(
            np.tile(np.arange(-2, 11), (2, 1)), axis=1
        )
    if segments:
        kwargs["query_segment_ids"] = _SEGMENTS
        kwargs["key_segment_ids"] = np.pad(_SEGMENTS, ((0, 0), (0, 3)), mode="edge")
    integers = {
        name: x.astype(np.int32) if np.ndim(x) == 2 else x for name, x in kwargs.items()
    }
    return arrays, integers, normal(2, 10, 6, 5)


def _run(arrays, options, grad, implementation):
    static = {k: v for k, v in options.items() if not isinstance(v, np.ndarray)}
    traced = {k: v for k, v in options.items() if isinstance(v, np.ndarray)}

    @jax.jit
    def run(arrays, traced):
        def loss(arrays):
            out = kd.nn.dot_product_attention(
                **arrays, **traced, **static, implementation=implementation
            )
            return jnp.sum(out * grad), out

        (_, out), grads = jax.value_and_grad(loss, has_aux=True)(arrays)
        return out, grads

    return run(arrays, traced)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of four, so that few tokens make several, and a part of one."""
    from kauldron.modules.attention import _dot_product

    monkeypatch.setattr(_dot_product, "_BLOCK", (4, 4))


_FAST = ("everything", "causal_window")


@pytest.mark.parametrize(
    "case",
    [c if c in _FAST else pytest.param(c, marks=pytest.mark.slow) for c in _CASES],
)
@pytest.mark.parametrize("implementation", ["plain", "blocks"])
def test_output_and_gradients_are_those_of_the_formula(
    case, implementation, small_blocks
):
    arrays, options, grad = _inputs(**_CASES[case])
    expected, expected_grads = numpy_attention.attention(**arrays, grad=grad, **options)
    out, grads = _run(arrays, options, grad, implementation)
    np.testing.assert_allclose(out, expected, atol=2e-6)
    for name, expected_grad in expected_grads.items():
        np.testing.assert_allclose(grads[name], expected_grad, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_any_combination_of_options_is_the_formula(seed, small_blocks):
    rng = np.random.default_rng(seed)
    some = lambda value: value if rng.random() < 0.5 else None  # noqa: E731
    part = lambda: tuple(  # noqa: E731
        int(n) if rng.random() < 0.6 else 1 for n in (2, 6, 10, 13)
    )
    case = {
        "bias": some(part()),
        "mask": some(part()),
        "is_causal": bool(rng.random() < 0.5),
        "window": some(int(rng.integers(1, 9))),
        "positions": bool(rng.random() < 0.5),
        "segments": bool(rng.random() < 0.5),
        "scale": some(0.3),
        "softcap": some(1.5),
    }
    for implementation in ("plain", "blocks"):
        arrays, options, grad = _inputs(seed, **case)
        expected, grads_of = numpy_attention.attention(**arrays, grad=grad, **options)
        out, grads = _run(arrays, options, grad, implementation)
        np.testing.assert_allclose(out, expected, atol=2e-6, err_msg=str(case))
        for name, grad_of in grads_of.items():
            np.testing.assert_allclose(grads[name], grad_of, atol=1e-5)


@pytest.mark.parametrize("implementation", ["plain", "blocks"])
@pytest.mark.parametrize("how", ["mask", pytest.param("bias", marks=pytest.mark.slow)])
def test_a_query_that_sees_nothing_gives_zeros_and_no_gradient(
    how, implementation, small_blocks
):
    arrays, _, grad = _inputs()
    seen = np.ones((1, 1, 10, 1), bool)
    seen[0, 0, 3] = False
    options = {"mask": seen} if how == "mask" else {}
    if how == "bias":
        arrays["bias"] = np.where(seen, 0, -np.inf).astype(np.float32)
    out, grads = _run(arrays, options, grad, implementation)
    np.testing.assert_array_equal(out[:, 3], 0)
    assert np.all(out[:, 4] != 0)
    np.testing.assert_array_equal(grads["query"][:, 3], 0)
    for leaf in jax.tree.leaves(grads):
        assert np.isfinite(leaf).all()


def test_softmax_is_taken_in_f32_and_the_output_has_the_dtype_of_the_query():
    arrays, _, _ = _inputs()
    half = {name: jnp.asarray(x, jnp.bfloat16) for name, x in arrays.items()}
    out = jax.jit(lambda x: kd.nn.dot_product_attention(**x))(half)
    exact, _ = numpy_attention.attention(
        **{name: np.asarray(x, np.float64) for name, x in half.items()},
        grad=np.zeros((2, 10, 6, 5)),
    )
    assert out.dtype == jnp.bfloat16
    # Only weights and output are rounded, to 8 bits.
    np.testing.assert_allclose(np.asarray(out, np.float64), exact, atol=2e-2)


def test_leading_axes_may_be_any_number():
    arrays, options, _ = _inputs(mask=(2, 1, 10, 13), segments=True)
    attend = jax.jit(functools.partial(kd.nn.dot_product_attention, is_causal=True))
    expected = attend(**arrays, **options)
    deeper = attend(**{k: v[:, None] for k, v in (arrays | options).items()})
    np.testing.assert_allclose(deeper[:, 0], expected, atol=1e-6)
    flat = attend(**{k: v[0] for k, v in (arrays | options).items()})
    np.testing.assert_allclose(flat, expected[0], atol=1e-6)


def test_leading_axes_of_tables_may_be_missing():
    arrays, _, _ = _inputs()
    rng = np.random.default_rng(1)
    sees = rng.random((10, 13)) < 0.7
    biases = [
        rng.standard_normal(shape, dtype=np.float32)
        for shape in ((13,), (6, 1, 1), (10, 1))
    ]

    @jax.jit
    def run(sees, biases):
        attend = functools.partial(kd.nn.dot_product_attention, **arrays)
        return [attend(mask=sees, bias=bias) for bias in biases]

    for out, bias in zip(run(sees, biases), biases, strict=True):
        full = bias.reshape((1,) * (4 - bias.ndim) + bias.shape)
        expected, _ = numpy_attention.attention(
            **arrays, grad=np.zeros(out.shape), mask=sees, bias=full
        )
        np.testing.assert_allclose(out, expected, atol=2e-6)


def _memory(implementation, length):
    x = jax.ShapeDtypeStruct((1, length, 2, 64), jnp.float32)

    def loss(query, key, value):
        out = kd.nn.dot_product_attention(
            query, key, value, is_causal=True, implementation=implementation
        )
        return jnp.sum(out**2)

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(x, x, x).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.slow
def test_memory_grows_with_the_length_and_not_with_its_square():
    at_once, in_blocks = _memory("plain", 8192), _memory(None, 8192)
    assert in_blocks < 0.05 * at_once
    assert in_blocks < 2.5 * _memory(None, 4096)


def test_derivatives_of_any_order_exist_where_all_is_computed_at_once():
    arrays, _, _ = _inputs()

    def energy(query):
        out = kd.nn.dot_product_attention(query, arrays["key"], arrays["value"])
        return jnp.sum(out**2)

    query = arrays["query"]
    curve = jax.jit(lambda q: jax.jvp(jax.grad(energy), (q,), (q,))[1])
    slope = curve(query)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {
                "key": np.zeros((2, 13, 4, 4), "f"),
                "value": np.zeros((2, 13, 4, 5), "f"),
            },
            "6 query heads, 4 key heads",
        ),
        ({"window": 0}, "`window` counts the key itself"),
        ({"softcap": 0.0}, "`softcap` must be > 0"),
        ({"query_segment_ids": _SEGMENTS}, "`key_segment_ids` are missing"),
        ({"implementation": "cudnn"}, "there is no GPU"),
        (
            {"implementation": "flash"},
            "'plain', 'blocks', 'cudnn', or None.*got 'flash'",
        ),
        ({"window": "5"}, "`window` must be an integer.*got '5'"),
        (
            {"mask": np.ones((2, 1, 10, 12), bool)},
            r"`mask` must broadcast.*\(2, 6, 10, 13\): got the shape \(2, 1, 10, 12\)",
        ),
        (
            {"bias": np.ones((1, 2, 6, 10, 13), "f")},
            r"`bias` must broadcast.*\(2, 6, 10, 13\): got .*\(1, 2, 6, 10, 13\)",
        ),
        (
            {"key": np.zeros((2, 13, 2, 3), "f")},
            r"last axes must be equal: got query \(2, 10, 6, 4\), key \(2, 13, 2, 3\)",
        ),
        (
            {"value": np.zeros((2, 12, 2, 5), "f")},
            r"key \(2, 13, 2, 4\), value \(2, 12, 2, 5\)",
        ),
    ],
)
def test_what_cannot_be_computed_is_told_before_compiling(change, words, unchecked):
    arrays, _, _ = _inputs()
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(lambda: kd.nn.dot_product_attention(**arrays | change))
