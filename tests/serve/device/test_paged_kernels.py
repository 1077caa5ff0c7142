"""JAX's kernel of attention to pages says what NumPy does."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kauldron import kd
from kauldron.serve.device import _paged_kernels, _programs
from tests.lm import small_model
from tests.serve.device import plain_host

_NEEDS_GPU = pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")


def _expected(query, key, value, tables, lengths, softcap, scale):
    rows = []
    num_heads, num_kv = query.shape[1], key.shape[0]
    for q, table, length in zip(query, tables, lengths, strict=True):
        heads = []
        for n in range(num_heads):
            k, v = (
                np.concatenate([x[n * num_kv // num_heads, page] for page in table])
                for x in (key, value)
            )
            logits = k[:length] @ q[n] * scale
            if softcap is not None:
                logits = softcap * np.tanh(logits / softcap)
            weights = np.exp(logits - logits.max())
            heads.append(weights @ v[:length] / weights.sum())
        rows.append(heads)
    return np.array(rows)


@pytest.mark.parametrize(
    ("softcap", "scale", "num_pages"), [(None, None, 16), (5.0, 0.3, 5)]
)
@pytest.mark.parametrize(
    ("interpret", "atol"),
    [
        pytest.param(True, 2e-5, marks=pytest.mark.slow),
        # Products of the device are in TF32.
        pytest.param(False, 5e-3, marks=[pytest.mark.gpu, _NEEDS_GPU]),
    ],
)
def test_kernel_is_attention_to_the_pages_of_a_row(
    interpret, atol, softcap, scale, num_pages
):
    rng = np.random.default_rng(0)
    query = rng.normal(size=(2, 4, 16)).astype(np.float32)
    key, value = rng.normal(size=(2, 2, 40, 16, 16)).astype(np.float32)
    tables = rng.permutation(40)[: 2 * num_pages].reshape(2, num_pages).astype(np.int32)
    lengths = np.array([1, num_pages * 16 - 3], np.int32)
    shown = tables.copy()
    shown[0, 1:] = -1  # of the first row there is one page only
    found = _paged_kernels.attend(
        *(query, key, value, shown, lengths),
        softcap=softcap,
        scale=scale,
        interpret=interpret,
    )
    scale = 1 / 4 if scale is None else scale
    expected = _expected(query, key, value, tables, lengths, softcap, scale)
    np.testing.assert_allclose(found, expected, atol=atol)


@pytest.mark.slow
def test_answers_by_the_kernel_are_those_of_generation():
    model = small_model.model()
    params = small_model.params(model)
    made = _programs.Programs(
        *(model, params),
        num_pages=40,
        page_size=16,
        num_slots=4,
        decode_widths=(),
        max_pages_per_row=4,
        prefill_rows=3,
        chunk_sizes=(8,),
        max_steps=4,
        attention="interpreted kernel",
    )
    prompts = [[5], [9, 17, 4], list(range(20, 41))]
    answers = [plain_host.Answer(prompt) for prompt in prompts]
    plain_host.Host(made).finish(*answers)
    max_tokens = len(answers[0].tokens)
    expected = kd.lm.generate(model, params, prompts, max_tokens=max_tokens)
    assert [a.tokens for a in answers] == [row.tokens.tolist() for row in expected]
