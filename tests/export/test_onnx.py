"""ONNX: every operator that is written predicts what JAX does; others are refused."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from tests.export import models

onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.usefixtures("quick_compile")


class Function(nn.Module):
    """Calls a function, as the module `inner`."""

    function: object
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        return {"y": _Inner(self.function, name="inner")(x)}


class _Inner(nn.Module):
    function: object

    @nn.compact
    def __call__(self, x):
        return self.function(x)


def _image(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _run(folder, feeds):
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def _check(function, x, out, *, atol=1e-5, num_rows=3, **options):
    """Exports with one number of rows, runs with another, compares with JAX."""
    state = kd.train.TrainState(step=0, params={}, collections={})
    model = Function(function)
    kd.export.export(model, state, out, batch={"x": x}, format="onnx", **options)
    other = np.resize(x, (num_rows, *x.shape[1:]))
    found = _run(out, {"x": other})
    expected = jax.tree.leaves(jax.jit(function)(other))
    assert len(found) == len(expected)
    for i, a in enumerate(expected):
        b = found["y" if len(expected) == 1 else f"y[{i}]"]
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=atol)


_ELEMENTWISE = (
    jnp.abs, jnp.ceil, jnp.cos, jnp.exp, jnp.exp2, jnp.expm1, jnp.floor, jnp.round,
    jnp.sign, jnp.sin, jnp.square, jnp.tan, jnp.tanh, jax.nn.gelu, jax.nn.relu,
    jax.nn.sigmoid, jax.nn.silu, jax.nn.softplus, jax.lax.stop_gradient,
    jax.scipy.special.erf, jax.scipy.special.erfc,
    lambda x: jnp.log(jnp.abs(x) + 1), lambda x: jnp.log1p(jnp.abs(x)),
    lambda x: jax.lax.rsqrt(jnp.abs(x) + 1), lambda x: jnp.sqrt(jnp.abs(x)),
    lambda x: x**3, lambda x: jnp.abs(x) ** 1.5, lambda x: jnp.clip(x, -0.5, 0.5),
    lambda x: x / (1 + x * x) - jnp.minimum(x, 0.1), lambda x: jax.lax.rem(x, 0.7),
    lambda x: jnp.where((x > 0) & ~(x >= 1) | (x < -1), x, 0.25),
    lambda x: (x != 0).astype(jnp.int32) + (x <= 0) ^ (x == 1),
    lambda x: jnp.isfinite(x / jnp.maximum(x, 0)),
    lambda x: (x * 10).astype(jnp.int32) // 3,
    lambda x: x.astype(jnp.bfloat16).astype(jnp.float32),
)  # fmt: skip


def test_functions_of_each_element(tmp_path):
    def function(x):
        return [f(x) for f in _ELEMENTWISE]

    x = _image(4, 5)
    state = kd.train.TrainState(step=0, params={}, collections={})
    kd.export.export(
        Function(function), state, tmp_path / "out", batch={"x": x}, format="onnx"
    )
    found = _run(tmp_path / "out", {"x": x})
    for i, a in enumerate(jax.jit(function)(x)):
        # bf16 is f32 in ONNX: the last cast rounds in JAX alone.
        atol = 0.02 if i == len(_ELEMENTWISE) - 1 else 1e-5
        b = found[f"y[{i}]"]
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=atol, err_msg=str(i))


def _shapes(x):  # f32[b 4 6]
    rows = jnp.arange(x.shape[0], dtype=jnp.float32)
    return [
        x.reshape(x.shape[0], -1),
        x.reshape(-1, 6),  # 4 * b rows
        x.transpose(2, 0, 1),
        jnp.concatenate([x, 2 * x], 1),
        jnp.stack([x, -x], -1),
        jnp.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=0.5),
        x[:, 1:, ::2],
        x[:, -1],
        x[:, ::-1],
        x[:, 1, jnp.array([0, 5])],
        x + rows[:, None, None],
        jnp.broadcast_to(x[:, :1], x.shape) + jnp.ones((6,)),
        *jnp.split(x, [1, 2], axis=1),
        jax.lax.dynamic_slice_in_dim(x, x[0, 0, 0].astype(jnp.int32) + 1, 2, axis=1),
        jnp.take(jnp.arange(10.0), jnp.clip(x * 3, 0, 9).astype(jnp.int32)),
        jnp.take(x, jnp.array([3, 0, 1]), axis=1),
        jnp.squeeze(x[:, :1], 1),
    ]


def _reductions(x):
    flags = x > 0
    return [
        x.sum(-1), x.mean((1, 2)), x.max(1), x.min((0, 2)), x.prod(1), x.std(-1),
        x.argmax(-1), x.argmin(1), jnp.cumsum(x, 1), jnp.cumsum(x, 1)[:, ::-1],
        flags.all(-1), flags.any((1, 2)), jax.nn.softmax(x), jax.nn.logsumexp(x, -1),
        *jax.lax.top_k(x, 2), jax.nn.standardize(x),
    ]  # fmt: skip


def _products(x):
    w = jnp.asarray(_image(6, 3))
    return [
        x @ w,
        jnp.einsum("bij,bkj->bik", x, x),
        jnp.einsum("bij,ji->b", x, jnp.asarray(_image(6, 4))),
        jnp.einsum("bij,jkl->bikl", x, jnp.asarray(_image(6, 2, 3))),
        nn.dot_product_attention(*[x[:, :, None]] * 3),
    ]


def _scans(x):
    def step(carry, row):
        carry = 0.5 * carry + row
        return carry, carry * 2

    x = jnp.moveaxis(x, 1, 0)
    forwards = jax.lax.scan(step, jnp.zeros_like(x[0]), x)
    backwards = jax.lax.scan(step, jnp.zeros_like(x[0]), x, reverse=True)
    branch = jax.lax.platform_dependent(x, cpu=lambda y: y + 1, default=lambda y: y)
    return [*forwards, *backwards, branch, jax.checkpoint(jnp.sin)(x)]


@pytest.mark.parametrize("function", [_shapes, _reductions, _products, _scans])
def test_functions_of_whole_arrays(tmp_path, function):
    _check(function, _image(2, 4, 6), tmp_path / "out")


def _convolutions(x):  # f32[b 7 6 4]
    def conv(*kernel, strides=(1, 1), padding="SAME", groups=1, **dilations):
        return jax.lax.conv_general_dilated(
            x,
            jnp.asarray(_image(*kernel)),
            strides,
            padding,
            feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            **dilations,
        )

    kernel = jnp.asarray(_image(3, 2, 4, 5))
    return [
        conv(3, 3, 4, 5),
        conv(3, 2, 4, 5, strides=(2, 3), padding=((1, 0), (2, 1))),
        conv(3, 3, 4, 5, rhs_dilation=(2, 1)),
        conv(3, 3, 1, 8, groups=4),
        jax.lax.conv_transpose(x, kernel, (2, 3), "SAME"),
        jax.lax.conv_transpose(x, kernel, (1, 2), "VALID", rhs_dilation=(2, 1)),
        nn.max_pool(x, (2, 3), strides=(2, 1), padding="SAME"),
        nn.avg_pool(x, (3, 2), strides=(1, 2), padding="SAME"),
        jax.image.resize(x, (x.shape[0], 14, 3, 4), "linear"),
        jnp.repeat(x, 2, axis=1),
    ]


def test_convolutions_and_pooling(tmp_path):
    _check(_convolutions, _image(2, 7, 6, 4), tmp_path / "out", atol=1e-4)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: jnp.sort(x, -1), "sort"),
        (lambda x: jnp.linalg.qr(x[:, None] * x[..., None])[0], "qr"),
        (lambda x: jax.lax.while_loop(lambda y: y.sum() < 9, jnp.exp, x), "while"),
        (lambda x: x + jax.random.normal(jax.random.key(0), x.shape), "random_seed"),
        (lambda x: jnp.cbrt(x), "cbrt"),
    ],
)
def test_other_operators_are_refused_by_name_with_their_module(
    tmp_path, function, name
):
    with pytest.raises(kd.export.ExportError) as error:
        _check(function, _image(2, 3), tmp_path / "out")
    assert f"`{name}`" in str(error.value) and "'inner" in str(error.value)
    assert "Export StableHLO instead" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_weights_are_inside_in_int8_too_and_names_do_not_clash(tmp_path):
    model = kd.nn.Sequential(inputs="batch.x", outputs="x", layers=[nn.Dense(3)])
    batch = models.points()
    state = models.state_of(model, batch)
    expected = np.asarray(models.apply(model, state, batch)["x"])
    exact = kd.export.export(
        model, state, tmp_path / "exact", batch=batch, format="onnx"
    )
    found = _run(tmp_path / "exact", batch)
    assert list(exact.spec["outputs"]) == list(found) == ["preds.x"]
    np.testing.assert_allclose(found["preds.x"], expected, atol=1e-5)
    small = kd.export.export(
        model, state, tmp_path / "small", batch=batch, format="onnx", quantize="int8"
    )
    gap = np.abs(_run(tmp_path / "small", batch)["preds.x"] - expected).max()
    np.testing.assert_allclose(gap, small.differences["preds.x"].max_abs, atol=1e-6)
    assert 0 < gap < 0.05
    assert not (tmp_path / "small" / "weights.safetensors").exists()
    with pytest.raises(kd.export.ExportError, match="holds a program in onnx"):
        kd.export.load(tmp_path / "small")


def test_readme_of_onnx_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    _check(lambda x: jnp.exp(x), _image(2, 3), tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    monkeypatch.chdir(tmp_path / "out")
    exec(text.split("```python\n")[1].split("```")[0], {})
    assert "'y': (2, 3)" in capsys.readouterr().out
