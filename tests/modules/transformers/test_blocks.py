"""Attention, blocks, embeddings, patches: promises and numbers."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from tests.modules import contract

_KEY = jax.random.key(0)
_TOKENS = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
_IMAGE = np.random.default_rng(1).normal(size=(2, 8, 4, 3)).astype(np.float32)
# Adding a number to all logits of a query changes nothing.
_KEY_BIAS = r"key\.bias"


_BLOCKS = [
    contract.Block(
        name="improved attention",
        make=lambda: kd.nn.ImprovedMultiHeadDotProductAttention(num_heads=2),
        inputs=((5, 8),),
        output=(5, 8),
        without_gradient=_KEY_BIAS,
    ),
    contract.Block(
        name="pre-norm block",
        make=lambda: kd.nn.PreNormBlock.from_spec(num_heads=2),
        inputs=((5, 8),),
        output=(5, 8),
    ),
]
_OTHER_BLOCKS = [
    contract.Block(
        name="attention of Flax",
        make=lambda: kd.nn.MultiHeadDotProductAttention(num_heads=2),
        inputs=((5, 8),),
        output=(5, 8),
        without_gradient=_KEY_BIAS,
    ),
    contract.Block(
        name="parallel block",
        make=lambda: kd.nn.ParallelAttentionBlock.from_spec(num_heads=2),
        inputs=((5, 8),),
        output=(5, 8),
    ),
    contract.Block(
        name="post-norm block",
        make=lambda: kd.nn.PostNormBlock.from_spec(num_heads=2),
        inputs=((5, 8),),
        output=(5, 8),
    ),
    contract.Block(
        name="Fourier embedding",
        make=lambda: kd.nn.AddEmbedding(
            kd.nn.FourierEmbedding(num_fourier_bases=2), axis=-2
        ),
        inputs=((5, 8),),
        output=(5, 8),
        makes_same_dtype=False,  # positions are f32
        rank_error=ValueError,  # the axis of the positions is missing
    ),
    contract.Block(
        name="vision transformer",
        make=lambda: kd.nn.Vit(
            encoder=kd.nn.VitEncoder.from_spec(
                num_heads=2,
                hidden_size=8,
                num_layers=2,
                patch_size=4,
                prepend_cls_token=True,
                scan=True,
            ),
            num_classes=3,
        ),
        inputs=((8, 4, 3),),
        output=(3,),
        pick=lambda preds: preds["logits"],
        without_gradient=_KEY_BIAS,
    ),
]


@contract.parametrize(_BLOCKS)
def test_block_keeps_the_promises_of_all_blocks(block):
    contract.check(block)


@pytest.mark.slow
@contract.parametrize(_OTHER_BLOCKS)
def test_other_block_keeps_the_promises_of_all_blocks(block):
    contract.check(block)


def test_weights_of_attention_are_a_softmax_of_scaled_products():
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(1, 2, 1, 4)), rng.normal(size=(1, 3, 1, 4))
    bias = rng.normal(size=(1, 1, 2, 3))
    mask = np.array([[True, True, False], [True, False, True]])[None, None]
    weights = kd.nn.dot_product_attention_weights(
        *map(jnp.float32, (query, key)), bias=jnp.float32(bias), mask=jnp.asarray(mask)
    )
    logits = query[0, :, 0] @ key[0, :, 0].T / 2 + bias[0, 0]  # 2 = sqrt(4)
    expected = np.exp(logits) * mask[0, 0]
    expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(weights[0, 0], expected, rtol=1e-5)


def test_queries_may_compete_for_keys():
    query = jnp.asarray(_TOKENS[:, :, None])
    weights = kd.nn.dot_product_attention_weights(query, query, softmax_axis=-2)
    np.testing.assert_allclose(weights.sum(-2), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda **kw: kd.nn.ImprovedMultiHeadDotProductAttention(num_heads=2, **kw),
        pytest.param(
            lambda **kw: kd.nn.MultiHeadDotProductAttention(num_heads=2, **kw),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_query_that_may_attend_to_nothing_gets_zeros(make):
    mask = jnp.ones((1, 1, 5, 5), bool).at[..., 2, :].set(False)
    attention = make(use_bias=False)
    variables = jax.jit(attention.init)(_KEY, _TOKENS)

    def total(tokens):
        output = attention.apply(variables, tokens, mask=mask)
        return jnp.sum(output**2), output

    grad, output = jax.jit(jax.grad(total, has_aux=True))(_TOKENS)
    assert (output[:, 2] == 0).all() and (output[:, [0, 1, 3, 4]] != 0).any(-1).all()
    assert np.isfinite(grad).all()


def test_weights_are_an_intermediate_where_they_are_recorded():
    attention = kd.nn.ImprovedMultiHeadDotProductAttention(num_heads=2)
    variables = jax.jit(attention.init)(_KEY, _TOKENS)
    apply = jax.jit(functools.partial(attention.apply, mutable=True))
    _, state = apply(variables, _TOKENS)
    (weights,) = state["intermediates"]["attn_weights"]
    assert weights.shape == (2, 2, 5, 5)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)


def test_weights_that_nobody_reads_are_not_made():
    attention = kd.nn.ImprovedMultiHeadDotProductAttention(num_heads=2)
    variables = jax.jit(attention.init)(_KEY, _TOKENS)
    with kd.nn.intermediates_read(lambda module, name: name != "attn_weights"):
        apply = jax.jit(functools.partial(attention.apply, mutable=True))
        output, state = apply(variables, _TOKENS)
    assert "attn_weights" not in state.get("intermediates", {})
    apply = jax.jit(functools.partial(attention.apply, mutable=True))
    recorded, _ = apply(variables, _TOKENS)
    np.testing.assert_allclose(output, recorded, rtol=1e-5, atol=1e-6)


def test_a_function_of_ones_own_makes_the_weights():
    def uniform(query, key, **kwargs):
        assert set(kwargs) == {"softmax_axis", "bias", "mask"}
        return jnp.full((2, 2, 5, 5), 0.2)

    attention = kd.nn.ImprovedMultiHeadDotProductAttention(
        num_heads=2, attn_weights_fn=uniform
    )
    output, _ = jax.jit(attention.init_with_output)(_KEY, _TOKENS)
    np.testing.assert_allclose(output, output[:, :1] + 0 * output, atol=1e-5)


def test_heads_that_do_not_divide_the_features_are_told_before_compiling():
    attention = kd.nn.ImprovedMultiHeadDotProductAttention(num_heads=3)
    with pytest.raises(ValueError, match=r"num_heads=3, qk_features=8.*\[1, 2, 4, 8\]"):
        jax.eval_shape(attention.init, _KEY, _TOKENS)


def test_dropout_of_attention_follows_the_train_property():
    attention = kd.nn.MultiHeadDotProductAttention(num_heads=2, dropout_rate=0.5)
    rngs = {"params": _KEY, "dropout": _KEY}
    with kd.nn.set_train_property(False):
        variables = jax.jit(attention.init)(rngs, _TOKENS)
        still = jax.jit(attention.apply)(variables, _TOKENS)
    with kd.nn.set_train_property(True):
        dropped = jax.jit(attention.apply)(variables, _TOKENS, rngs=rngs)
    assert not np.allclose(still, dropped)
    by_hand = kd.nn.MultiHeadDotProductAttention(num_heads=2, deterministic=True)
    with pytest.raises(ValueError, match="follows the train property"):
        by_hand.init(_KEY, _TOKENS)


def test_a_pre_norm_block_masks_and_keeps_the_dtype_of_tokens():
    block = kd.nn.PreNormBlock.from_spec(num_heads=2)
    variables = jax.jit(block.init)(_KEY, _TOKENS)
    causal = jnp.tril(jnp.ones((5, 5), bool))[None, None]

    @jax.jit
    def run(tokens):
        output = block.apply(variables, tokens, attention_mask=causal)
        return output, block.apply(variables, tokens[:, :1])

    output, first = run(_TOKENS)
    np.testing.assert_allclose(output[:, :1], first, rtol=1e-4, atol=1e-5)
    tokens = _TOKENS.astype(jnp.bfloat16)
    assert jax.eval_shape(block.apply, variables, tokens).dtype == jnp.bfloat16


def test_patches_are_read_row_by_row():
    image = jnp.arange(2 * 4).reshape(2, 4, 1)
    patches = kd.nn.Patchify((2, 2)).apply({}, image)
    np.testing.assert_array_equal(patches, [[0, 1, 4, 5], [2, 3, 6, 7]])


def test_embedded_patches_are_a_linear_map_of_patches():
    embed = kd.nn.PatchifyEmbed((4, 2), hidden_size=6)
    tokens, variables = jax.jit(embed.init_with_output)(_KEY, _IMAGE)
    patches = np.asarray(kd.nn.Patchify((4, 2)).apply({}, _IMAGE))
    kernel = variables["params"]["patchifier"]["kernel"].reshape(4 * 2 * 3, 6)
    np.testing.assert_allclose(tokens, patches @ kernel, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make", [kd.nn.Patchify, lambda size: kd.nn.PatchifyEmbed(size, hidden_size=6)]
)
def test_patches_that_do_not_fill_the_image_are_refused(make):
    with pytest.raises(ValueError, match=r"3 x 4 .* 8 x 4: .* pad the images to 9 x 4"):
        jax.eval_shape(make((3, 4)).init, _KEY, _IMAGE)


@pytest.mark.parametrize(
    ("axis", "shape"), [(-2, (4, 3)), ((-2, -3), (8, 4, 3)), (-3, (8, 1, 3))]
)
def test_a_learned_embedding_has_a_vector_for_each_position(axis, shape):
    embedding = kd.nn.LearnedEmbedding()
    added, variables = embedding.init_with_output(_KEY, _IMAGE.shape, axis=axis)
    emb = variables["params"]["embeddings"]
    assert emb.shape == shape
    np.testing.assert_array_equal(added, np.broadcast_to(emb, _IMAGE.shape))


def test_fourier_features_are_sines_and_cosines_of_doubled_angles():
    features = kd.nn.convert_to_fourier_features(jnp.array([0.5, 1.0]), 2)
    angles = np.array([0.5, 1.0, 1.0, 2.0])
    expected = [*np.sin(angles), *np.cos(angles)]
    np.testing.assert_allclose(features, expected, rtol=1e-6)


@pytest.mark.parametrize("axis", [-1, 1, (-2, -1), (), -5])
def test_axes_of_an_embedding_are_negative_and_not_that_of_the_features(axis):
    with pytest.raises(ValueError, match="negative numbers, without that of the"):
        kd.nn.LearnedEmbedding().init(_KEY, _IMAGE.shape, axis=axis)


def test_a_zero_embedding_adds_nothing():
    add = kd.nn.AddEmbedding(kd.nn.ZeroEmbedding(), axis=-2)
    np.testing.assert_array_equal(add.apply({}, _TOKENS), _TOKENS)


def test_the_deprecated_embedding_is_the_learned_one():
    with pytest.warns(DeprecationWarning, match=r"kd\.nn\.AddEmbedding"):
        added, variables = kd.nn.AddLearnedEmbedding().init_with_output(_KEY, _TOKENS)
    np.testing.assert_allclose(
        added, _TOKENS + np.asarray(variables["params"]["embeddings"]), rtol=1e-6
    )


def test_a_module_says_of_which_kind_it_is():
    attention = kd.nn.ImprovedMultiHeadDotProductAttention(num_heads=2)
    assert isinstance(attention, kd.nn.AttentionModule)
    assert isinstance(kd.nn.LearnedEmbedding(), kd.nn.knn_types.PositionEmbedding)


def test_an_encoder_takes_an_embedding_of_its_own_instead_of_patches():
    stem = kd.nn.Sequential(
        layers=[
            kd.nn.ConvBlock(features=8, strides=4, norm="layer"),
            kd.nn.Rearrange(pattern="... h w c -> ... (h w) c"),
        ]
    )
    encoder = kd.nn.VitEncoder.from_variant_str(
        "mu", hidden_size=8, num_heads=2, num_layers=1, embedding=stem
    )
    tokens, variables = jax.jit(encoder.init_with_output)(
        jax.random.key(0), jnp.zeros((2, 8, 12, 3))
    )
    assert tokens.shape == (2, 6, 8)
    assert "patch_size" not in str(variables)
    with pytest.raises(ValueError, match=r"`patch_size`, or an `embedding`"):
        kd.nn.VitEncoder.from_spec(num_heads=2, hidden_size=8, num_layers=1)
