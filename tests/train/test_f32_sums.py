"""Gradients of models in 16 bits: every sum of them is that of f32.

The sums have 2^17 terms whose values a bf16 has exactly, so that the gradient is known
to the last digit. Added up in bf16, one after the other, they stop at 1/512 of it.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from kauldron import kd
from kauldron.step import _f32_sums, _sum_analysis
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile")

ROWS, COLUMNS = 2**16, 2
BF16 = jnp.bfloat16
IDS = jnp.asarray(np.arange(ROWS * 2, dtype=np.int32) % 4)
# 1, 2, 1, 2, ... down the rows: its mean is 1.5.
X = jnp.asarray(np.tile([[1], [2]], (ROWS // 2, COLUMNS)).astype(BF16))


def mean(x):
    return x.astype(jnp.float32).mean()


def scan_of_constant(w, x):
    return jax.lax.scan(lambda h, row: (h, row * w), x[0], x[:4096])[1]


def scan_of_carry(w, x):
    return jax.lax.scan(lambda c, row: (c, row * c), w, x[:4096])[1]


def scan_of_remat(w, x):
    body = jax.checkpoint(lambda c, row: (c, row * c))
    return jax.lax.scan(body, w, x[:4096])[1]


def nested_scans(w, x):
    def outer(carry, rows):
        return jax.lax.scan(jax.jit(lambda c, row: (c, row * c)), carry, rows)

    return jax.lax.scan(outer, w, x[:4096].reshape(64, 64, COLUMNS))[1]


def loop(w, x):
    return jnp.stack([w * x[i] for i in range(512)])


def in_a_branch(w, x):
    return jax.lax.cond(x[0, 0] > 0, lambda: x * w, lambda: x)


def on_many_devices(w, x):
    mesh = jax.make_mesh((8,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = PartitionSpec("d")
    function = lambda w, x: w * x  # noqa: E731
    return jax.shard_map(
        function, mesh=mesh, in_specs=(PartitionSpec(), spec), out_specs=spec
    )(w, x)


USES = {
    "broadcast": lambda w, x: x * w,
    "new axis": lambda w, x: x[:, :, None] * w[None, :, None],
    "einsum": lambda w, x: jnp.einsum("nc,c->nc", x, w),
    "reshape": lambda w, x: x * jnp.broadcast_to(w.reshape(1, 2), x.shape),
    "vmap": lambda w, x: jax.vmap(lambda row: row * w)(x),
    "inner jit": lambda w, x: jax.jit(lambda w: x * w)(w),
    "remat": lambda w, x: jax.checkpoint(lambda w: x * w)(w),
    "cond": in_a_branch,
    "scan, constant": scan_of_constant,
    "scan, carry": scan_of_carry,
    "scan, remat": scan_of_remat,
    "nested scans": nested_scans,
    "python loop": loop,
    "shard_map": on_many_devices,
    "window": lambda w, x: nn.avg_pool((x * w)[None], (2,), (2,)) * 1,
    "concatenated": lambda w, x: jnp.concatenate([x[:1] * w, x[1:] * w]),
    "where": lambda w, x: jnp.where(x > 0, x * w, 0),
}


def gradient(loss, params):
    """Returns the gradient by parameters in f32 of a loss that computes in bf16."""
    return jax.jit(lambda p: _f32_sums.grad(lambda p: (loss(p), None), p)[0])(params)


@pytest.mark.parametrize("use", USES)
def test_gradient_of_a_parameter_that_is_used_often_is_exact(use):
    grad = gradient(lambda w: mean(USES[use](w.astype(BF16), X)), jnp.ones(COLUMNS))
    assert grad.dtype == jnp.float32
    np.testing.assert_allclose(grad, [0.75, 0.75], rtol=2e-5)


LOOK_UPS = {
    "take": lambda t: jnp.take(t, IDS, axis=0),
    "index": lambda t: t[IDS],
    "embed": lambda t: nn.Embed(4, 2, dtype=BF16).apply(
        {"params": {"embedding": t}}, IDS
    ),
    "segment_sum": lambda t: (
        jax.ops.segment_sum(t[IDS], IDS // 4 * 0 + IDS, 4) / 2.0**15
    ),
}


@pytest.mark.parametrize("look_up", LOOK_UPS)
def test_gradient_of_rows_that_are_looked_up_often_is_exact(look_up):
    grad = gradient(lambda t: mean(LOOK_UPS[look_up](t.astype(BF16))), jnp.ones((4, 2)))
    np.testing.assert_allclose(grad, np.full((4, 2), 1 / 8), rtol=2e-5)


def test_look_up_of_padding_adds_nothing():
    def loss(t):
        return mean(
            t.astype(BF16).at[jnp.array([0, 0, 9])].get(mode="fill", fill_value=0)
        )

    np.testing.assert_allclose(
        gradient(loss, jnp.ones((2, 1))), [[2 / 3], [0]], rtol=4e-3
    )


MODULES = {
    "dense": lambda dtype: nn.Dense(2, dtype=dtype),
    "conv": lambda dtype: nn.Conv(2, (3,), dtype=dtype),
    "layer norm": lambda dtype: nn.LayerNorm(dtype=dtype),
    "rms norm": lambda dtype: nn.RMSNorm(dtype=dtype),
    "group norm": lambda dtype: nn.GroupNorm(2, dtype=dtype),
    "batch norm": lambda dtype: nn.BatchNorm(use_running_average=True, dtype=dtype),
    "lora": lambda dtype: nn.DenseGeneral((2, 2), dtype=dtype),
}


@pytest.mark.parametrize("name", MODULES)
def test_gradients_of_modules_are_those_of_f32(name):
    x = jnp.asarray(np.random.default_rng(0).uniform(0.5, 2, (64, 512, 4)), BF16)
    init = jax.jit(MODULES[name](None).init)
    variables = init(jax.random.key(0), x.astype(jnp.float32))
    params, others = variables["params"], {**variables}
    others.pop("params")

    def loss(params, dtype):
        module = MODULES[name](dtype)
        y = module.apply({"params": params, **others}, x.astype(dtype))
        weights = jnp.linspace(1, 2, 512).astype(dtype)[:, None]
        return mean(y * weights if y.ndim == 3 else y)

    grads = gradient(lambda p: loss(p, BF16), params)
    expected = jax.jit(jax.grad(lambda p: loss(p, jnp.float32)))(params)
    jax.tree.map(
        # Cotangents are rounded to bf16 each, weights and activations too.
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=2e-3),
        grads,
        expected,
    )


def test_parameters_in_bf16_get_gradients_rounded_once():
    grad = gradient(lambda w: mean(X * w), jnp.ones(COLUMNS, BF16))
    assert grad.dtype == BF16
    np.testing.assert_array_equal(np.asarray(grad, np.float32), [0.75, 0.75])


def test_gradients_in_fp16_neither_stall_nor_overflow_in_a_sum():
    # 2^17 x 2^0 is more than an fp16 holds; divided by the scale afterwards it is 0.75.
    scale = 2.0**17
    x = X.astype(jnp.float16)
    grad = gradient(
        lambda w: mean(x * w.astype(jnp.float16)) * scale, jnp.ones(COLUMNS)
    )
    np.testing.assert_allclose(grad / scale, [0.75, 0.75], rtol=1e-3)


def test_step_in_f32_is_the_same_program_as_that_of_jax():
    def loss(w):
        h = jax.lax.scan(
            lambda h, row: (jnp.tanh(h * w + row), None), w, jnp.ones((9, 2))
        )
        return (jnp.take(h[0], jnp.array([0, 1, 1])) ** 2).sum()

    ours = jax.jit(lambda w: _f32_sums.grad(lambda w: (loss(w), None), w)[0])
    theirs = jax.jit(jax.grad(loss))
    w = jnp.array([0.3, -0.7])
    np.testing.assert_array_equal(ours(w), theirs(w))

    def lowered(function):
        text = function.lower(w).as_text()
        return [line.strip() for line in text.splitlines() if "module" not in line]

    assert lowered(ours) == lowered(theirs)


def test_integers_have_gradients_without_values_as_in_jax():
    params = {"w": jnp.ones(2), "count": jnp.int32(3)}
    grads, aux = _f32_sums.grad(lambda p: ((p["w"] * p["count"]).sum(), "aux"), params)
    assert grads["count"].dtype == jax.dtypes.float0
    np.testing.assert_array_equal(grads["w"], [3, 3])
    assert aux == "aux"


def test_rule_of_the_users_own_is_followed_and_sums_inside_of_it_are_f32():
    @jax.custom_vjp
    def doubled(w, x):
        return w * x

    doubled.defvjp(
        lambda w, x: (w * x, x),
        lambda x, g: (2 * jax.lax.reduce_sum(g * x, (0,)), jnp.zeros_like(x)),
    )
    grad = gradient(lambda w: mean(doubled(w.astype(BF16), X)), jnp.ones(COLUMNS))
    np.testing.assert_allclose(grad, [1.5, 1.5], rtol=4e-3)


def test_sums_in_bf16_inside_of_a_rule_for_f32_are_f32():
    @jax.custom_vjp
    def doubled(w, x):
        return w * x

    def backward(x, g):
        terms = (g * x).astype(BF16)
        return 2 * jax.lax.reduce_sum(terms, (0,)).astype(jnp.float32), None

    doubled.defvjp(lambda w, x: (w * x, x), backward)
    x = X.astype(jnp.float32)
    grad = gradient(lambda w: mean(jax.jit(doubled)(w, x)), jnp.ones(COLUMNS))
    np.testing.assert_allclose(grad, [1.5, 1.5], rtol=4e-3)


def in_bf16(x):
    return (x.astype(BF16) + 1).astype(jnp.float32)


@jax.custom_vjp
def by_a_rule(x):
    return x


by_a_rule.defvjp(lambda x: (x, None), lambda _, g: (in_bf16(g),))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: jnp.tanh(x * 2), False),
        (lambda x: jax.lax.scan(lambda c, y: (c * y, c), x[0], x)[1], False),
        (lambda x: x * jnp.round(x).astype(jnp.int8), False),
        (in_bf16, True),
        (lambda x: x.astype(jnp.float16).sum(), True),
        (lambda x: jax.lax.map(in_bf16, x), True),
        (lambda x: jax.lax.cond(x[0] > 0, in_bf16, jnp.tanh, x), True),
        (jax.jit(jax.checkpoint(lambda x: jnp.sin(in_bf16(x)))), True),
        (jax.jit(by_a_rule), True),
    ],
)
def test_backward_pass_is_traced_where_it_may_have_16_bits(function, expected):
    _, pull_back = jax.vjp(function, jnp.ones(3))
    assert _sum_analysis.may_have_narrow(pull_back) is expected


class Tokens(nn.Module):
    """An embedding and what else a sum over all tokens goes to."""

    tokens: kd.kontext.Key = "batch.tokens"

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(2, 4, name="embed")(tokens)
        y = nn.Dense(4, name="dense")(x) * self.param(
            "gain", nn.initializers.ones, (4,)
        )
        return {"y": y + nn.LayerNorm(name="norm")(x)}


class Target(kd.losses.Loss):
    preds: kd.kontext.Key = "preds.y"

    def get_values(self, preds):
        return (preds.astype(jnp.float32) - 1) ** 2


def grads_of(num_devices, **changes):
    tokens = (np.arange(64 * 256).reshape(64, 256) % 7 > 4).astype(np.int32)
    source = [{"tokens": row} for row in tokens]
    replicated = kd.sharding.ShardingStrategy(batch=kd.sharding.REPLICATED)
    trainer = small_run.make_trainer(
        "unused",
        train_ds=kd.data.py.DataSource(source, shuffle=False, batch_size=64),
        model=Tokens(),
        train_losses={"target": Target()},
        train_metrics={},
        evals={},
        optimizer=optax.sgd(1.0),
        **({"sharding": replicated} if num_devices == 1 else {}),
        **changes,
    )
    state, batch = trainer.init_state(), next(iter(trainer.train_ds))
    batch = jax.device_put(batch, trainer.sharding.batch)
    return jax.jit(lambda s, b: trainer.trainstep._step(s, b)[1].grads)(state, batch)


@pytest.fixture(scope="module")
def f32_grads():
    return grads_of(8)


@pytest.mark.parametrize(
    ("num_devices", "changes"),
    [
        (8, {"precision": "bf16"}),
        (1, {"precision": "bf16"}),
        (8, {"precision": "bf16", "grad_accum_steps": 8}),
        (1, {"precision": "bf16", "grad_accum_steps": 32}),
        (8, {"precision": "fp16"}),
        (8, {"precision": kd.train.Precision(params="bfloat16", compute="bfloat16")}),
        (8, {"precision": "bf16", "remat": kd.train.Remat(modules=["dense", "norm"])}),
    ],
    ids=str,
)
def test_gradient_of_a_step_is_that_of_f32_in_whatever_parts(
    num_devices, changes, f32_grads
):
    grads = grads_of(num_devices, **changes)

    def close(path, a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        # Activations are rounded to 2^-9 of their size, and so is what a sum is made of.
        np.testing.assert_allclose(
            a,
            b,
            atol=1e-2 * np.abs(b).max(),
            rtol=0,
            err_msg=jax.tree_util.keystr(path),
        )

    jax.tree_util.tree_map_with_path(close, grads, f32_grads)
