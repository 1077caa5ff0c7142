"""Blocks of language models keep the contract of blocks, and refuse what cannot be."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from tests.modules import contract

_X, _POSITIONS = (5, 8), ((5,), 5)


def _small_lm(num_layers=2, **options):
    block = kd.nn.DecoderBlock(
        attention=kd.nn.GQAttention(num_heads=2, window=3),
        feed_forward=kd.nn.FeedForward(12),
        has_post_norms=True,
    )
    options = {"blocks": (block,), **options}
    return kd.nn.CausalLM(vocab_size=16, features=8, num_layers=num_layers, **options)


_BLOCKS = [
    contract.Block(
        name="GQAttention",
        make=lambda: kd.nn.GQAttention(
            num_heads=4,
            num_kv_heads=2,
            head_dim=4,
            qk_norm="rms",
            qk_norm_order="after_rope",
            is_gated=True,
            softcap=5.0,
            use_bias=True,
            use_out_bias=True,
        ),
        inputs=(_X, _POSITIONS),
        output=_X,
        pick=lambda output: output[0],
    ),
    contract.Block(
        name="MLAttention",
        make=lambda: kd.nn.MLAttention(
            num_heads=2,
            kv_rank=6,
            query_rank=6,
            head_dim=4,
            rope_head_dim=2,
            value_head_dim=4,
        ),
        inputs=(_X, _POSITIONS),
        output=_X,
        pick=lambda output: output[0],
    ),
    contract.Block(
        name="FeedForward",
        make=lambda: kd.nn.FeedForward(12, use_bias=True),
        inputs=((8,),),
        output=(8,),
    ),
    contract.Block(
        name="MoE",
        make=lambda: kd.nn.MoE(
            num_experts=4,
            hidden_features=6,
            routing=kd.nn.Routing(has_bias=True),
            shared=kd.nn.FeedForward(4),
        ),
        inputs=((8,),),
        output=(8,),
        without_gradient="selection_bias",
        # Another rounding of the input may choose another expert.
        bf16_atol=0.5,
    ),
    contract.Block(
        name="CausalLM",
        make=_small_lm,
        inputs=(((5,), 16),),
        output=(5, 16),
        pick=lambda output: output["logits"],
        makes_same_dtype=False,
    ),
    contract.Block(
        name="CausalLM_scanned_and_recomputed",
        make=lambda: _small_lm(scan_layers=True, remat=True, has_tied_head=True),
        inputs=(((5,), 16),),
        output=(5, 16),
        pick=lambda output: output["logits"],
        makes_same_dtype=False,
    ),
]


_SLOW = ("MLAttention", "MoE", "CausalLM")


@contract.parametrize([b for b in _BLOCKS if b.name not in _SLOW])
def test_contract(block):
    contract.check(block)


@pytest.mark.slow
@contract.parametrize([b for b in _BLOCKS if b.name in _SLOW])
def test_contract_of_parts_that_others_cover(block):
    contract.check(block)


def test_the_axis_of_scanned_layers_has_a_name():
    axes = kd.nn.logical_axes(_small_lm(scan_layers=True), jnp.zeros((1, 4), jnp.int32))
    query = axes["params"]["layers"]["layer_0"]["attention"]["query"]["kernel"]
    assert tuple(query) == ("layers", "embed", "heads", "head_dim")


_TOKENS = np.zeros((1, 4), np.int32)


def _attention(**options):
    model = kd.nn.GQAttention(**{"num_heads": 4, **options})
    return lambda: model.init(jax.random.key(0), jnp.zeros((1, 4, 8)), _TOKENS)


def _lm(*args, tokens: np.ndarray = _TOKENS, **options):
    return lambda: _small_lm(**options).init(jax.random.key(0), tokens, *args)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_attention(num_kv_heads=3), "num_heads=4, num_kv_heads=3"),
        (_attention(num_kv_heads=0), "num_heads=4, num_kv_heads=0"),
        (_attention(num_heads=0), "both >= 1: got num_heads=0"),
        (_attention(head_dim=0), "`head_dim` must be >= 1: got 0"),
        (_attention(num_heads=3), "8 features don't divide"),
        (_attention(head_dim=3), "must be even: got 3"),
        (_attention(window=0), "`window` counts the key itself.*got 0"),
        (_attention(window="128"), "`window` must be an integer.*got '128'"),
        (_attention(qk_norm_order="last"), "'before_rope' or 'after_rope': got 'last'"),
        (lambda: kd.nn.Rope(scaling="yarn"), "`kd.nn.LinearScaling`.*got 'yarn'"),
        (lambda: kd.nn.Rope(layout="halves"), "must be 'half' or 'pair'"),
        (lambda: kd.nn.Rope(fraction=0.0), r"in \(0, 1\]: got 0.0"),
        (lambda: kd.nn.LinearScaling(factor=0.5), "LinearScaling.factor.*got 0.5"),
        (lambda: kd.nn.Routing(scores="relu"), "'softmax' or 'sigmoid'"),
        (lambda: kd.nn.Routing(num_selected_groups=2), "got 2 of 1"),
        (lambda: kd.nn.Routing(num_selected=9).check(8), "the 8 experts.*got 9"),
        (lambda: kd.nn.Routing(num_groups=3).check(8), "8 experts, num_groups=3"),
        (_lm(max_positions=3), "4 tokens are more than the 3 positions"),
        (_lm(_TOKENS, _TOKENS, ()), "no `segment_ids`"),
        (_lm(first_blocks=(None,) * 4), "num_layers=2, 4 first blocks"),
        (_lm(num_layers=0), "`num_layers` must be >= 1: got 0"),
        (_lm(blocks=kd.nn.FeedForward(4)), "`CausalLM.blocks` must be a list.*FeedF"),
        (_lm(first_blocks=kd.nn.FeedForward(4)), "`CausalLM.first_blocks` must be a"),
        (_lm(tokens=np.zeros((1, 4))), r"`tokens` must be integers: got float64\[1, 4"),
        (_lm(np.zeros((1, 4))), "`positions` must be integers: got float64"),
    ],
)
def test_what_cannot_be_is_told_before_compiling(make, words, unchecked):
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(make)


def test_tokens_out_of_range_give_nan_and_not_the_row_of_another():
    model = _small_lm(num_layers=1)
    tokens = np.array([[3, -1], [3, 16], [3, 3]], np.int32)
    run = jax.jit(lambda rng: model.init_with_output(rng, tokens)[0]["logits"])
    logits = run(jax.random.key(0))
    assert np.isnan(logits[:2, 1]).all()
    assert np.isfinite(logits[2]).all()
