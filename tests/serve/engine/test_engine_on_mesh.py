"""An engine whose model is split over eight devices, and whose requests name adapters."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kauldron import kd
from tests.lm import small_model
from tests.serve.device import test_mesh


@pytest.mark.slow
def test_answers_on_eight_devices_are_those_of_the_model_and_of_an_adapter_merged(
    quick_compile,
):
    model = small_model.model(num_heads=8, num_kv_heads=8, head_dim=8)
    params = small_model.params(model)
    tuned = kd.lm.LoRA(model, rank=2, alpha=4.0, targets=["**.kernel"])
    shapes = jax.eval_shape(tuned.init, jax.random.key(0), np.zeros((1, 1), np.int32))
    rng = np.random.default_rng(1)
    updates = jax.tree.map(
        lambda x: rng.normal(0, 0.4, x.shape).astype(np.float32), shapes["params"]
    )
    merged = kd.lm.merge_lora(tuned, updates, {"base": params})
    sampling = kd.serve.SamplingParams(max_tokens=9, temperature=0, ignore_eos=True)
    with kd.serve.Engine(
        (model, test_mesh.split(model, params), small_model.tokenizer()),
        adapters={"tuned": (tuned, updates)},
        num_slots=6,
        context_length=40,
        page_size=4,
        decode_widths=(),
        chunk_sizes=(16,),
        warm_up=False,
    ) as engine:
        answers = engine.answer(
            [
                kd.serve.Request(prompt=tuple(prompt), sampling=sampling, adapter=name)
                for name in (None, "tuned")
                for prompt in test_mesh.PROMPTS
            ]
        )
    found = [list(one.tokens) for (one,) in answers]
    expected = [
        row.tokens.tolist()
        for weights in (params, merged)
        for row in kd.lm.generate(model, weights, test_mesh.PROMPTS, max_tokens=9)
    ]
    assert found == expected
    assert found[:3] != found[3:]
