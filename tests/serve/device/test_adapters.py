"""Rows of one batch have adapters of their own, each as if it were merged."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kauldron import kd
from kauldron.serve.device import _programs
from tests.lm import small_model
from tests.serve.device import plain_host

MODEL = small_model.model()
PROMPT = list(range(40, 51))
SIZES = {
    "num_pages": 64,
    "page_size": 4,
    "num_slots": 4,
    "decode_widths": (),
    "max_pages_per_row": 8,
    "prefill_rows": 4,
    "chunk_sizes": (16,),
    "max_steps": 4,
}


def _adapter(seed, targets, rank):
    """Returns a tuned model and parameters that change what it says."""
    tuned = kd.lm.LoRA(MODEL, rank=rank, alpha=4.0, targets=targets)
    shapes = jax.eval_shape(tuned.init, jax.random.key(0), np.zeros((1, 1), np.int32))
    rng = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda x: rng.normal(0, 0.4, x.shape).astype(np.float32), shapes["params"]
    )
    return tuned, params


def _tokens_of(params, prompt):
    (row,) = kd.lm.generate(MODEL, params, [prompt], max_tokens=9)
    return row.tokens.tolist()


def test_adapters_of_several_ranks_and_targets_in_one_batch(quick_compile):
    params = small_model.params(MODEL)
    adapters = {
        "attention": _adapter(1, ["**.attention.*.kernel"], 2),
        "all": _adapter(2, ["**.attention.*.kernel", "**.feed_forward.*.kernel"], 3),
    }
    programs = _programs.Programs(MODEL, params, adapters=adapters, **SIZES)
    expected = [_tokens_of(params, PROMPT)]
    for tuned, updates in adapters.values():
        merged = kd.lm.merge_lora(tuned, updates, {"base": params})
        expected.append(_tokens_of(merged, PROMPT))
    assert len({tuple(tokens) for tokens in expected}) == 3
    assert programs.adapters == {"attention": 1, "all": 2}
    answers = [plain_host.Answer(PROMPT, adapter=i) for i in (2, 0, 1)]
    plain_host.Host(programs).finish(*answers, chunk_size=16)
    assert [a.tokens for a in answers] == [expected[2], expected[0], expected[1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda u: {"layer_9": u["layer_0"]}, r"another model.*`layer_9\."),
        (lambda u: {"layer_0": {"attention": {"query": {"kernel": {
            "a": np.zeros((8, 2)), "b": np.zeros((2, 4, 8))}}}}}, "does not fit"),
        (lambda u: {"embedding": {"a": np.zeros((300, 2)), "b": np.zeros((2, 32))}},
         "updates `embedding`: served are adapters of kernels"),
    ],
)  # fmt: skip
def test_adapters_that_cannot_be_served_are_told(change, message):
    tuned, updates = _adapter(1, ["**.attention.*.kernel"], 2)
    with pytest.raises(kd.lm.LoRAError, match=message):
        _programs.Programs(
            *(MODEL, small_model.params(MODEL)),
            adapters={"one": (tuned, change(updates))},
            **SIZES,
        )
