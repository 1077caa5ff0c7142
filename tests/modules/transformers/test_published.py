"""Parameters and numbers of the published transformers; see `make_fixture.py`."""

from __future__ import annotations

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd

_FIXTURE = np.load(pathlib.Path(__file__).parent / "fixture" / "published.npz")


def _vit(**kwargs):
    return kd.nn.VitEncoder.from_spec(
        num_heads=2, hidden_size=8, num_layers=2, patch_size=4, **kwargs
    )


_ATTENTION = kd.nn.ImprovedMultiHeadDotProductAttention
_MODELS = {
    "attention": _ATTENTION(
        num_heads=2, normalize_qk=True, qk_features=4, v_features=6, out_features=3
    ),
    "slots": _ATTENTION(num_heads=2, softmax_axis=(-3, -2)),
    "PreNormBlock": kd.nn.PreNormBlock.from_spec(num_heads=2),
    "PostNormBlock": kd.nn.PostNormBlock.from_spec(num_heads=2),
    "ParallelAttentionBlock": kd.nn.ParallelAttentionBlock.from_spec(num_heads=2),
    "vit": kd.nn.Vit(
        encoder=_vit(prepend_cls_token=True), num_classes=3, mode="cls_token"
    ),
    "gap": kd.nn.Vit(encoder=_vit(), num_classes=3),
    "autoencoder": kd.nn.VitAutoEncoder(
        encoder=_vit(block_type=kd.nn.ParallelAttentionBlock)
    ),
    "fourier": kd.nn.AddEmbedding(
        kd.nn.FourierEmbedding(num_fourier_bases=3), axis=(-3, -2)
    ),
}


def _read(prefix):
    nested = {}
    for key in _FIXTURE.files:
        if key.startswith(f"{prefix}."):
            *parents, last = key.removeprefix(f"{prefix}.").split(".")
            inner = nested
            for part in parents:
                inner = inner.setdefault(part, {})
            inner[last] = _FIXTURE[key]
    return nested


def _inputs(name):
    args = _read(f"{name}.args")
    return [args[str(i)] for i in range(len(args))], _read(f"{name}.kwargs")


# The others are of the same parts.
_FAST = ("attention", "vit", "fourier")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in _FAST else pytest.mark.slow) for n in _MODELS],
)
def test_parameters_of_published_checkpoints_give_published_numbers(name):
    model, params = _MODELS[name], _read(f"{name}.params")
    args, kwargs = _inputs(name)
    initial = jax.eval_shape(model.init, jax.random.key(0), *args, **kwargs)
    assert jax.tree.map(jnp.shape, initial["params"]) == jax.tree.map(np.shape, params)
    output = jax.jit(model.apply)({"params": params}, *args, **kwargs)
    (expected,) = jax.tree.leaves(_read(f"{name}.output"))
    # Both in f32; the layer norms here have the exact variance.
    np.testing.assert_allclose(
        jax.tree.leaves(output)[0], expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
def test_a_seed_gives_the_published_initial_parameters():
    args, _ = _inputs("vit")
    params = jax.jit(_MODELS["vit"].init)(jax.random.key(0), *args)["params"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
        params,
        _read("init"),
    )


def _dense(*shape):
    return {"kernel": shape, "bias": shape[1:]}


def test_names_and_shapes_of_the_smallest_variant_are_as_published():
    model = kd.nn.Vit(
        encoder=kd.nn.VitEncoder.from_variant_str("ViT-mu/4", prepend_cls_token=True),
        num_classes=7,
    )
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 12, 3)))
    norm = {"scale": (32,), "bias": (32,)}
    heads = {"kernel": (32, 2, 16), "bias": (2, 16)}
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {
            "encoder": {
                "cls": (32,),
                "embedding": {"patchifier": {"kernel": (4, 4, 3, 32), "bias": (32,)}},
                "pos_embedding": {"embeddings": (6, 32)},
                "layers_0": {
                    "attention": {
                        "query": heads,
                        "key": heads,
                        "value": heads,
                        "out": {"kernel": (2, 16, 32), "bias": (32,)},
                    },
                    "attention_norm": norm,
                    "mlp": {"dense_in": _dense(32, 128), "dense_out": _dense(128, 32)},
                    "mlp_norm": norm,
                },
                "encoder_norm": {"scale": (32,)},
            },
            "pre_logits": _dense(32, 32),
            "classifier_head": _dense(32, 7),
        }
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # hidden size, layers, features inside of the MLP, heads, patch size
        ("ViT-mu/16", (32, 1, 128, 2, 16)),
        ("vit_Ti/4", (192, 12, 768, 3, 4)),
        ("S/8", (384, 12, 1536, 6, 8)),
        ("M/16", (512, 12, 2048, 8, 16)),
        ("VIT-B/32", (768, 12, 3072, 12, 32)),
        ("L/16", (1024, 24, 4096, 16, 16)),
        ("H/14", (1280, 32, 5120, 16, 14)),
        ("g/14", (1408, 40, 6144, 16, 14)),
        ("G/14", (1664, 48, 8192, 16, 14)),
        ("e/14", (1792, 56, 15360, 16, 14)),
    ],
)
def test_variants_have_the_sizes_of_the_papers(name, expected):
    encoder = kd.nn.VitEncoder.from_variant_str(name)
    layer = encoder.layers[-1]
    assert (
        encoder.embedding.hidden_size,
        len(encoder.layers),
        layer.mlp.hidden_size,
        layer.attention.num_heads,
        encoder.embedding.patch_size[0],
    ) == expected
    assert not layer.attention.normalize_qk
    assert isinstance(layer, kd.nn.PreNormBlock)


def test_a_variant_takes_other_arguments_over_its_own():
    encoder = kd.nn.VitEncoder.from_variant_str(
        "B", patch_size=(8, 4), num_layers=2, block_type=kd.nn.ParallelAttentionBlock
    )
    assert encoder.embedding.patch_size == (8, 4) and len(encoder.layers) == 2
    # Not the RMS norm that such a block has by itself.
    assert type(encoder.layers[0].attention_norm).__name__ == "LayerNorm"
