"""A model split over eight devices makes the tokens of one."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from kauldron import kd
from kauldron.serve.device import _programs
from tests.lm import small_model
from tests.serve.device import plain_host

PROMPTS = [[5, 9, 200], list(range(40, 51)), [17, 3]]
_SPLIT = {"heads", "kv", "mlp"}


def split(model, params):
    """Returns parameters of which heads and hidden features are split."""
    mesh = kd.sharding.Mesh(axes={"tensor": -1}).params.mesh
    names = kd.nn.logical_axes(model, np.zeros((1, 1), np.int32))["params"]

    def place(x, names):
        spec = PartitionSpec(*("tensor" if n in _SPLIT else None for n in names))
        return jax.device_put(x, NamedSharding(mesh, spec))

    return jax.tree.map(place, params, names)


def test_tokens_on_eight_devices_are_those_of_one(quick_compile):
    model = small_model.model(num_heads=8, num_kv_heads=8, head_dim=8)
    params = small_model.params(model)
    expected = kd.lm.generate(model, params, PROMPTS, max_tokens=9)
    programs = _programs.Programs(
        *(model, split(model, params)),
        num_pages=32,
        page_size=4,
        num_slots=4,
        decode_widths=(),
        max_pages_per_row=8,
        prefill_rows=4,
        chunk_sizes=(16,),
        max_steps=4,
    )
    answers = [plain_host.Answer(prompt) for prompt in PROMPTS]
    plain_host.Host(programs).finish(*answers, chunk_size=16)
    assert [a.tokens for a in answers] == [row.tokens.tolist() for row in expected]
    pages = [x for x in jax.tree.leaves(programs._state.pool) if x.ndim == 4]
    assert {x.sharding.spec[0] for x in pages} == {"tensor"}


def test_parameters_that_all_devices_have_alike_are_served_by_one(quick_compile):
    model = small_model.model()
    params = small_model.params(model)
    expected = kd.lm.generate(model, params, PROMPTS[:1], max_tokens=3)
    mesh = kd.sharding.Mesh(axes={"data": -1}).params.mesh
    assert mesh.size == 8
    everywhere = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
    programs = _programs.Programs(
        *(model, everywhere),
        num_pages=8,
        page_size=4,
        num_slots=1,
        max_pages_per_row=8,
        chunk_sizes=(16,),
        max_steps=4,
        owns_params=True,
    )
    answer = plain_host.Answer(PROMPTS[0])
    plain_host.Host(programs).finish(answer, chunk_size=16)
    assert answer.tokens[:3] == expected[0].tokens.tolist()
    # Or each device would hold all pages, and compute the same.
    used = {d for x in jax.tree.leaves(programs._state) for d in x.sharding.device_set}
    assert len(used) == 1
