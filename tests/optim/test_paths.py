"""Globs, routing, layer-wise decay, decay masks, Muon's matrices."""

from __future__ import annotations

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd, optim
from kauldron.kontext import leaf_globs
from kauldron.optim import _paths
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile")


def _ones(*shape):
    return jnp.asarray(np.ones(shape, np.float32))


PARAMS = {
    "embed": {"embedding": _ones(5, 4), "pos": _ones(1, 3, 4)},
    "block_0": {"attn": {"kernel": _ones(4, 4), "bias": _ones(4)}},
    "block_1": {"attn": {"kernel": _ones(4, 4), "bias": _ones(4)}},
    "LayerNorm_0": {"scale": _ones(4)},
    "head": {"kernel": _ones(4, 2), "bias": _ones(2)},
}
PATHS = _paths.parameter_paths(PARAMS)


def on(mask):
    """Returns the paths at which a tree of bools is true."""
    return {
        p
        for p, on in zip(
            _paths.parameter_paths(mask), jax.tree.leaves(mask), strict=True
        )
        if on
    }


@pytest.mark.parametrize(
    ("glob", "regex"),
    [
        ("**", r".*"),
        ("head", r"head\..*"),
        ("head.bias", r"head\.bias"),
        ("**.bias", r"(.*\.)?bias"),
        ("*.bias", r"[^.]+\.bias"),
        ("*.attn", r"[^.]+\.attn\..*"),
        ("**.attn", r"(.*\.)?attn\..*"),
        ("block_0.**.kernel", r"block_0\.(.*\.)?kernel"),
        ("**.attn.**.bias", r"(.*\.)?attn\.(.*\.)?bias"),
        ("hea", r"nothing"),
        ("head.bias.x", r"nothing"),
    ],
)
def test_globs_match_the_same_paths_as_regular_expressions(glob, regex):
    expected = [re.fullmatch(regex, path) is not None for path in PATHS]
    assert leaf_globs.matches(glob, PATHS) == expected


def test_select_takes_globs_as_well():
    biases = {"block_0.attn.bias", "block_1.attn.bias", "head.bias"}
    assert on(optim.select("**.bias")(PARAMS)) == biases
    assert on(optim.exclude(["**.bias", "embed"])(PARAMS)) == {
        p for p in PATHS if p not in biases and not p.startswith("embed")
    }
    with pytest.raises(ValueError, match=r"'\*\*.bais' matches no.*Near: \['bias'"):
        optim.select("**.bais")(PARAMS)


def _one_update(optimizer, params=PARAMS):
    state = optimizer.init(params)
    ones = jax.tree.map(jnp.ones_like, params)
    return jax.jit(optimizer.update)(ones, state, params)


def test_first_glob_that_matches_counts():
    optimizer = optim.by_path(
        {
            "block_0.attn.bias": optax.sgd(4.0),
            "embed": None,
            "**.bias": optax.sgd(3.0),
            "block_0": optax.sgd(2.0),
            "**": optax.sgd(1.0),
        }
    )
    updates, _ = _one_update(optimizer)
    rates = {
        path: -float(leaf.ravel()[0])
        for path, leaf in zip(PATHS, jax.tree.leaves(updates), strict=True)
    }
    assert rates == {
        "LayerNorm_0.scale": 1,
        "block_0.attn.bias": 4,
        "block_0.attn.kernel": 2,
        "block_1.attn.bias": 3,
        "block_1.attn.kernel": 1,
        "embed.embedding": 0,
        "embed.pos": 0,
        "head.bias": 3,
        "head.kernel": 1,
    }


def test_globs_that_differ_in_stars_alone_have_an_optimizer_each():
    optimizer = optim.by_path(
        {
            "bias": optax.sgd(1.0),
            "**.bias": optax.sgd(2.0),
            "a.any": optax.sgd(3.0),
            "a.*": optax.sgd(4.0),
            "rest": optax.sgd(5.0),
            "**": optax.sgd(6.0),
        }
    )
    one = jnp.ones(())
    params = {
        "bias": one,
        "a": {"bias": one, "any": one, "some": one},
        "rest": one,
        "x": one,
    }
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert jax.tree.map(lambda u: -float(u), updates) == {
        "bias": 1,
        "a": {"bias": 2, "any": 3, "some": 4},
        "rest": 5,
        "x": 6,
    }


def test_arguments_of_the_shape_of_parameters_are_those_of_the_part():
    """Such as the gradients that `optax.contrib.sophia` asks for."""
    seen = []

    def update(updates, state, params=None, *, grad, value):
        seen.append((jax.tree.leaves(grad), jax.tree.leaves(params), value))
        return updates, state

    part = optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)
    optimizer = optim.by_path({"a": part, "**": optax.sgd(1.0)})
    params = {"a": jnp.ones(()), "b": jnp.zeros(())}
    grads = {"a": 2 * jnp.ones(()), "b": jnp.ones(())}
    optimizer.update(grads, optimizer.init(params), params, grad=grads, value=5)
    assert seen == [([2], [1], 5)]


def test_many_parameters_are_listed_up_to_the_eighth():
    params = {f"w{i}": jnp.ones(()) for i in range(10)}
    with pytest.raises(ValueError, match=r"are \['w0', .*'w7'\] and 2 more"):
        optim.select("x")(params)
    params = {f"w{i}": jnp.ones(()) for i in range(8)}
    with pytest.raises(ValueError, match=r"'w7'\]\.$"):
        optim.select("x")(params)


def test_frozen_part_keeps_its_bits_and_costs_no_memory():
    params = {
        **PARAMS,
        "head": {"kernel": jnp.full((4, 2), -1e-30), "bias": jnp.ones(2)},
    }
    optimizer = optim.by_path({"head": None, "**": optax.adam(0.1)})
    updates, state = _one_update(optimizer, params)
    after = optax.apply_updates(params, updates)
    for name in ("kernel", "bias"):
        before_bits = np.asarray(params["head"][name]).tobytes()
        assert np.asarray(after["head"][name]).tobytes() == before_bits
    num_trained = sum(
        leaf.size
        for name in params
        if name != "head"
        for leaf in jax.tree.leaves(params[name])
    )
    moments = [x for x in jax.tree.leaves(state) if x.ndim]
    assert sum(x.size for x in moments) == 2 * num_trained


@pytest.mark.parametrize(
    ("globs", "message"),
    [
        ({"haed": 1, "**": 1}, r"glob 'haed' matches no parameter. Near: \['head'"),
        ({"head": 1}, r"No glob matches the parameters \['LayerNorm_0.scale', "),
        (
            {"**": 1, "head": 1},
            r"'head' comes too late: all it matches is taken by '\*\*' before it",
        ),
    ],
)
def test_routing_that_does_not_fit_is_told(globs, message):
    optimizer = optim.by_path({glob: optax.sgd(1.0) for glob in globs})
    with pytest.raises(ValueError, match=message):
        optimizer.init(PARAMS)
    with pytest.raises(ValueError, match="at least one glob"):
        optim.by_path({})


@pytest.mark.parametrize(
    "optimizer",
    [
        optim.by_path({"layrs_0": optax.sgd(1.0), "**": optax.sgd(1.0)}),
        optim.partial_updates(optax.sgd(1.0), optim.select("layrs_0")),
        optax.adamw(1.0, mask=optim.select("layrs_0")),
        optim.muon(1.0, exclude="layrs_0"),
        optim.layerwise_decay(0.5, embeddings="layrs_0"),
    ],
)
def test_check_names_the_optimizer_and_near_paths(optimizer, tmp_path):
    trainer = small_run.make_trainer(tmp_path, optimizer=optimizer)
    with pytest.raises(
        ValueError, match=r"cfg\.optimizer.*'layrs_0'.* matches no"
    ) as e:
        trainer.check()
    assert "Near: ['layers_0'" in str(e.value)
    assert "cfg.model" not in str(e.value)


def test_wrong_key_is_told_beside_a_wrong_glob(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path,
        optimizer=optim.muon(1.0, exclude="layrs_0"),
        train_metrics={"x": kd.metrics.Norm(tensor="preds.lgits")},
    )
    with pytest.raises(KeyError, match="layrs_0") as e:
        trainer.check()
    assert "'preds.lgits'" in str(e.value)


def test_updates_shrink_towards_the_input():
    updates, _ = _one_update(optim.layerwise_decay(0.5, embeddings="embed"))
    factors = {
        p: float(u.ravel()[0])
        for p, u in zip(PATHS, jax.tree.leaves(updates), strict=True)
    }
    assert factors == {
        "embed.embedding": 0.125,
        "embed.pos": 0.125,
        "block_0.attn.kernel": 0.25,
        "block_0.attn.bias": 0.25,
        "block_1.attn.kernel": 0.5,
        "block_1.attn.bias": 0.5,
        "LayerNorm_0.scale": 1,
        "head.kernel": 1,
        "head.bias": 1,
    }


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("layers_3", 3),
        ("layer_3", 3),
        ("block_12", 12),
        ("encoderblock_0", 0),
        ("ParallelAttentionBlock_2", 2),
        ("Dense_0", None),
        ("sublayers_x", None),
    ],
)
def test_names_of_layers(name, number):
    params = {name: {"kernel": jnp.ones(2)}, "block_1": {"kernel": jnp.ones(2)}}
    updates, _ = _one_update(optim.layerwise_decay(0.5, embeddings=()), params)
    num_layers = max(number or 0, 1) + 1
    expected = 1.0 if number is None else 0.5 ** (num_layers - number)
    np.testing.assert_allclose(updates[name]["kernel"], expected)


@pytest.mark.parametrize(
    ("layers", "factors"),
    [
        ({}, {"block_0.block_3": 0.25, "block_1.block_0": 0.5, "embed_2.block_1": 0.5}),
        (
            {"layers": r"stage_(\d+)"},
            {"stage_1.block_2": 0.5, "stage_0.block_3": 0.25, "block_9.kernel": 1},
        ),
        (
            {"layers": r"(?:stage|block)_(\d+)"},
            {"stage_0.block_1": 0.25, "stage_1.block_0": 0.5},
        ),
    ],
)
def test_outermost_layer_counts_for_what_is_nested(layers, factors):
    params = {}
    for path in factors:
        outer, inner = path.split(".")
        params.setdefault(outer, {})[inner] = {"kernel": jnp.ones(2)}
    updates, _ = _one_update(
        optim.layerwise_decay(0.5, embeddings=(), **layers), params
    )
    for path, factor in factors.items():
        outer, inner = path.split(".")
        np.testing.assert_allclose(updates[outer][inner]["kernel"], factor)


def test_layerwise_decay_needs_layers():
    with pytest.raises(ValueError, match=r"No parameter is in a layer.*'head.bias'"):
        optim.layerwise_decay(0.5, embeddings=()).init({"head": {"bias": jnp.ones(1)}})
    with pytest.raises(ValueError, match=r"in \(0, 1\]: got 1.5"):
        optim.layerwise_decay(1.5, embeddings=())


class _Scanned(nn.Module):
    """Two layers whose parameters have a leading axis, and a norm."""

    @nn.compact
    def __call__(self, x):
        class Layer(nn.Module):
            @nn.compact
            def __call__(self, x, _):
                return nn.LayerNorm()(nn.Dense(3)(x)), None

        layers = nn.scan(
            Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=2
        )
        return nn.Dense(1)(layers(name="layers")(x, None)[0])


def test_biases_and_norms_do_not_decay():
    assert on(optim.no_bias_or_norm(PARAMS)) == {
        "embed.embedding",
        "embed.pos",
        "block_0.attn.kernel",
        "block_1.attn.kernel",
        "head.kernel",
    }
    scanned = jax.eval_shape(_Scanned().init, jax.random.key(0), jnp.ones((2, 3)))
    # The bias and the scale of the layers are matrices here.
    assert on(optim.no_bias_or_norm(scanned["params"])) == {
        "Dense_0.kernel",
        "layers.Dense_0.kernel",
    }


def test_vectors_and_numbers_of_any_name_do_not_decay():
    params = {
        "token": jnp.ones(3),
        "gain": jnp.ones(()),
        "mixing": jnp.ones((3, 1)),
        "PreNorm": {"kernel": jnp.ones((3, 3))},
    }
    assert on(optim.no_bias_or_norm(params)) == {"mixing"}


def test_decoupled_decay_is_the_rate_times_the_decay_times_the_parameter():
    optimizer = optax.adamw(0.1, weight_decay=0.5, mask=optim.no_bias_or_norm)

    @jax.jit
    def update(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optimizer.update(zeros, optimizer.init(params), params)

    updates, _ = update(PARAMS)
    np.testing.assert_allclose(updates["head"]["kernel"], -0.1 * 0.5 * 1)
    np.testing.assert_array_equal(updates["head"]["bias"], 0)
    np.testing.assert_array_equal(updates["LayerNorm_0"]["scale"], 0)


def _svd_polar(x):
    u, _, vt = np.linalg.svd(x, full_matrices=False)
    return u @ vt


def test_muon_makes_updates_of_matrices_orthogonal_and_leaves_the_rest_to_adam():
    rng = np.random.default_rng(0)
    grads = jax.tree.map(
        lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), PARAMS
    )
    optimizer = optim.muon(1.0, exclude="head")
    updates, _ = jax.jit(optimizer.update)(grads, optimizer.init(PARAMS), PARAMS)
    update = -np.asarray(updates["block_0"]["attn"]["kernel"])
    # Five Newton-Schulz steps bring singular values near 1, by design not closer.
    singular = np.linalg.svd(update, compute_uv=False)
    assert (singular > 0.6).all() and (singular < 1.3).all()
    exact = _svd_polar(np.asarray(grads["block_0"]["attn"]["kernel"]))
    assert np.sum(update * exact) / np.linalg.norm(update) / 2 > 0.95
    adam = optax.adam(1.0, nesterov=True)
    expected, _ = adam.update(grads, adam.init(PARAMS))
    for part, name in [("head", "kernel"), ("embed", "embedding"), ("embed", "pos")]:
        np.testing.assert_allclose(
            updates[part][name], expected[part][name], rtol=1e-5, atol=1e-6
        )


def test_muon_treats_more_axes_as_the_matrix_they_are():
    """`[inputs, heads, features]` is trained as `[inputs, heads * features]`."""
    grads = jax.random.normal(jax.random.key(0), (6, 2, 3))
    params = {"query": {"kernel": jnp.ones((6, 2, 3))}, "w": jnp.ones((2, 2))}
    optimizer = optim.muon(1.0, matrices={"**.query.kernel": [[0], [1, 2]]})
    updates, _ = jax.jit(optimizer.update)(
        {"query": {"kernel": grads}, "w": jnp.ones((2, 2))},
        optimizer.init(params),
        params,
    )
    flat = {"w": grads.reshape(6, 6)}
    plain = optim.muon(1.0)
    expected, _ = jax.jit(plain.update)(flat, plain.init(flat), flat)
    np.testing.assert_allclose(
        updates["query"]["kernel"].reshape(6, 6), expected["w"], rtol=1e-4, atol=1e-5
    )


def test_muon_without_matrices_says_so():
    with pytest.raises(ValueError, match="Muon has no matrix to train"):
        optim.muon(1.0).init({"bias": jnp.ones(3)})
    with pytest.raises(
        ValueError, match="The glob 'x' of `matrices` matches no parameter"
    ):
        optim.muon(1.0, matrices={"x": [[0], [1]]}).init(PARAMS)


def _muon_updates(**kwargs):
    """Returns two updates of `PARAMS` in a row; the heads go to AdamW."""
    optimizer = optim.muon(0.5, exclude="head", **kwargs)
    return _updates(optimizer, PARAMS)


def _updates(optimizer, params):
    update, state, found = jax.jit(optimizer.update), optimizer.init(params), []
    for scale in (1.0, 3.0):
        grads = jax.tree.map(
            lambda p, scale=scale: (scale * jnp.cos(jnp.arange(p.size))).reshape(
                p.shape
            ),
            params,
        )
        updates, state = update(grads, state, params)
        found.append(updates)
    return found


def test_adam_of_muon_has_moments_and_decay_of_its_own():
    own = {"b1": 0.7, "b2": 0.8, "weight_decay": 0.3}
    ours = _muon_updates(
        weight_decay=0.1, **{f"adam_{name}": value for name, value in own.items()}
    )
    head = {"kernel": PARAMS["head"]["kernel"]}  # biases do not decay
    theirs = _updates(optax.adamw(0.5, nesterov=True, **own), head)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a["head"]["kernel"], b["kernel"], rtol=1e-5)


def test_updates_of_muon_are_as_large_as_asked():
    # Singular values are 0.7 to 1.2 (five steps): so are root mean squares of the matrix.
    for kwargs, size in [({}, 0.5), ({"consistent_rms": 0.2}, 0.2)]:
        updates = _muon_updates(**kwargs)[0]["block_0"]["attn"]["kernel"]
        rms = float(np.sqrt(np.mean(np.square(updates))))
        assert 0.6 * size < rms / 0.5 < 1.25 * size
