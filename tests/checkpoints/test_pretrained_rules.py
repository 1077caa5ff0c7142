"""Rules of pretrained weights: names with numbers, and arrays both ways."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from kauldron import kd
from kauldron.checkpoints.pretrained import _rules, _uses

Rearrange, Rule = kd.ckpts.pretrained.Rearrange, kd.ckpts.pretrained.Rule
_RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("template", "name", "numbers"),
    [
        ("a.{i}.w", "a.0.w", {"i": 0}),
        ("a.{i}.w", "a.12.w", {"i": 12}),
        ("layer{s+1}.{b}.w", "layer1.3.w", {"s": 0, "b": 3}),
        ("a{i}.b{i}", "a2.b2", {"i": 2}),
        ("a{i}.b{i}", "a2.b3", None),
        ("a{i+1}", "a0", None),
        ("a.{i}.w", "a.x.w", None),
        ("a.{i}.w", "xa.1.w", None),
        ("a.{i}.w", "aa1.w", None),
    ],
)
def test_names_with_numbers(template, name, numbers):
    numbered = _rules.NumberedName(template)
    assert numbered.match(name) == numbers
    if numbers is not None:
        assert numbered.format(numbers) == name


@pytest.mark.parametrize(
    ("form", "shape", "ours"),
    [
        (Rearrange("d_out d_in -> d_in d_out"), (3, 4), [(4, 3)]),
        (Rearrange("d_out d_in ... -> ... d_in d_out"), (5, 2, 3, 4), [(3, 4, 2, 5)]),
        (
            Rearrange("d_in d_out ... -> ... d_in d_out", flips_space=True),
            (2, 5, 3, 4),
            [(3, 4, 2, 5)],
        ),
        (Rearrange("1 n d -> n d"), (1, 4, 3), [(4, 3)]),
        (Rearrange("e (h k) -> h k e"), (5, 6), [(2, 3, 5)]),
        (Rearrange("(h k) e -> e h k"), (3 * 6, 5), [(5, 2, 3)] * 3),
        (Rearrange("(h k) e -> e h k"), (6 + 3 + 3, 5), [(5, 2, 3), *[(5, 1, 3)] * 2]),
        (Rearrange("e (h k) -> e h k", joined_axis=1), (5, 18), [(5, 2, 3)] * 3),
        (Rearrange("... -> ..."), (2, 3), [(2, 3)]),
        (Rearrange("... -> ..."), (), [()]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_arrays_go_there_and_back(form, shape, ours, dtype):
    tensor = _RNG.standard_normal(shape).astype(dtype)
    made = form.to_ours([tensor], ours)
    assert [x.shape for x in made] == ours
    assert all(x.dtype == dtype for x in made)
    (again,) = form.to_theirs(made)
    np.testing.assert_array_equal(again, tensor)


def test_joined_queries_keys_and_values():
    qkv = _RNG.standard_normal((3 * 4 * 2, 5)).astype(np.float32)
    form = Rearrange("(heads head_dim) embed -> embed heads head_dim")
    _, key, _ = form.to_ours([qkv], [(5, 4, 2)] * 3)
    # Row of key, head 3, its second feature: after 8 of the query.
    np.testing.assert_array_equal(key[:, 3, 1], qkv[8 + 3 * 2 + 1])


def test_transposed_convolution_is_reversed_in_space():
    kernel = _RNG.standard_normal((2, 3, 2, 2)).astype(np.float32)  # in out h w
    x = _RNG.standard_normal((1, 3, 4, 2)).astype(np.float32)
    # PyTorch's definition: each pixel adds its kernel to the output.
    expected = np.einsum("bijc,cohw->bihjwo", x, kernel).reshape(1, 6, 8, 3)
    (rule, _) = kd.ckpts.pretrained.conv_transpose("up", "up")
    (ours,) = rule.array_form.to_ours([kernel], [(2, 2, 2, 3)])
    module = nn.ConvTranspose(3, (2, 2), (2, 2), padding="VALID", use_bias=False)
    y = module.apply({"params": {"kernel": jnp.asarray(ours)}}, x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_views_of_a_file_stay_views():
    tensor = np.zeros((18, 5), np.float32)
    form = Rearrange("(h k) e -> e h k")
    assert all(
        np.shares_memory(tensor, x) for x in form.to_ours([tensor], [(5, 2, 3)] * 3)
    )


def test_number_that_only_the_file_has_stacks():
    rule = Rule(
        "moe.{i}.experts.{e}.w1.weight",
        "params.layer_{i}.experts.kernel",
        "mlp embed -> embed mlp",
    )
    tensors = {
        f"moe.{i}.experts.{e}.w1.weight": np.full((2, 3), 100.0 * i + e)
        for i in range(2)
        for e in range(11)
    }
    ours = {f"params.layer_{i}.experts.kernel": (11, 3, 2) for i in range(2)}
    uses = list(_uses.find_uses([rule], tensors, ours))
    assert [use.ours for use in uses] == [(name,) for name in ours]
    made = uses[1].to_ours(tensors, ours)["params.layer_1.experts.kernel"]
    assert made.shape == (11, 3, 2)
    # In the order of numbers, not of texts: 2 comes before 10.
    np.testing.assert_array_equal(made[:, 0, 0], 100 + np.arange(11))
    (_, use) = _uses.find_uses([rule], (), ours, is_written=True)
    back = use.to_theirs({"params.layer_1.experts.kernel": made})
    assert len(back) == 11
    for name, tensor in back.items():
        np.testing.assert_array_equal(tensor, tensors[name])


@pytest.mark.parametrize(
    "pattern", ["a b", "a b -> b c", "a b -> (a b)", "a b c -> a b"]
)
def test_patterns_that_lose_something_are_refused(pattern):
    with pytest.raises(
        kd.ckpts.CheckpointError, match="is no pattern of a weight rule"
    ):
        Rearrange(pattern)


@pytest.mark.parametrize(
    ("theirs", "ours", "message"),
    [
        ("a", "params.layer_{i}", r"\['i'\] is in ours, not in theirs"),
        (("a.{i}", "b"), "params.a", "all names of a side have the same numbers"),
        ("a.{i}", ("params.{i}", "params.b"), "all names of a side have the same"),
    ],
)
def test_rules_that_cannot_hold_are_refused(theirs, ours, message):
    with pytest.raises(kd.ckpts.CheckpointError, match=message):
        Rule(theirs, ours)


def test_stacked_layers_may_be_read_from_specs_alone():
    rule = Rule("l.{i}.w", "params.w", "a b -> b a")
    specs = {f"l.{i}.w": jax.ShapeDtypeStruct((2, 3), jnp.bfloat16) for i in range(4)}
    (use,) = _uses.find_uses([rule], specs, {"params.w": (4, 3, 2)})
    made = use.specs_of_ours(specs, {"params.w": (4, 3, 2)})
    assert made == {"params.w": jax.ShapeDtypeStruct((4, 3, 2), jnp.bfloat16)}
