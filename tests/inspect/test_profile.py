"""Where the time of a step goes: by module, by operation, and how names are read."""

from __future__ import annotations

import json

import flax.linen as nn
import jax
import numpy as np
import pytest

from kauldron import kd
from kauldron.inspect import _compiled_names
from tests.train import small_run


class _Tower(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1024, name="second")(nn.Dense(1024, name="first")(x))


class _Model(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        heavy = _Tower(name="heavy")(x.repeat(8, 0)).reshape(x.shape[0], 8, -1).mean(1)
        return {"logits": nn.Dense(2, name="light")(heavy)}


@pytest.fixture(scope="module")
def trainer():
    return small_run.make_trainer(
        None,
        model=_Model(),
        sharding=kd.sharding.ShardingStrategy(batch=kd.sharding.REPLICATED),
    )


@pytest.fixture(scope="module")
def state(trainer):
    return trainer.init_state()


@pytest.fixture(scope="module")
def profile(trainer, state):
    return kd.inspect.profile_step(trainer, state, num_steps=2)


def test_what_multiplies_most_takes_most(profile):
    """A million multiplications for each row against two thousand."""
    rows = {r["module"]: r for r in profile.modules.as_dicts()}
    assert rows["heavy.second"]["all"] > 5 * rows["light"]["all"]
    for direction in ("forward", "backward"):
        assert sum(r[direction] or 0 for name, r in rows.items() if "heavy" in name) > 0
    for part in ("(losses)", "(optimizer)"):
        assert rows[part]["all"] > 0


def test_rows_sum_up_to_the_time_in_operations(profile):
    total = sum(r["all"] for r in profile.modules.as_dicts())
    assert total == pytest.approx(profile.busy_ms, rel=1e-6)
    shares = [float(r["share"].rstrip("%")) for r in profile.modules.as_dicts()]
    assert sum(shares) == pytest.approx(100, abs=0.1 * len(shares))
    slowest = [r["ms"] for r in profile.operations.as_dicts()]
    assert slowest == sorted(slowest, reverse=True)


def test_depth_joins_modules(trainer, state, profile):
    names = {r["module"] for r in profile.modules.as_dicts()}
    assert {"heavy.first", "heavy.second"} <= names
    joined = kd.inspect.profile_step(trainer, state, num_steps=1, depth=1)
    names = {r["module"] for r in joined.modules.as_dicts()}
    assert "heavy" in names and "heavy.first" not in names


def test_the_state_is_left_as_it_was(state, profile):
    assert profile.num_steps == 2
    assert int(state.step) == 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))


def test_profiles_read_as_text_html_and_json(profile):
    values = json.loads(json.dumps(profile.as_dict()))
    assert values["modules"][0]["module"] in str(profile)
    assert "A step takes" in str(profile)
    assert profile._repr_html_().count("<table") == 2


def test_two_profiles_at_once_and_none_are_refused(trainer, state, tmp_path):
    with pytest.raises(kd.inspect.ProfileError, match="from 1 on: got 0"):
        kd.inspect.profile_step(trainer, state, num_steps=0)
    jax.profiler.start_trace(str(tmp_path))
    try:
        with pytest.raises(kd.inspect.ProfileError, match="Another profile"):
            kd.inspect.profile_step(trainer, state, num_steps=1)
    finally:
        jax.profiler.stop_trace()


_TEXT = """HloModule jit_step, is_scheduled=true

%fused_computation (p.0: f32[2], p.1: f32[2]) -> f32[2] {
  %p.0 = f32[2]{0} parameter(0)
  %p.1 = f32[2]{0} parameter(1)
  %a.1 = f32[2]{0} add(%p.0, %p.1), metadata={op_name="jit(step)/jvp(M)/one/add"}
  ROOT %m.1 = f32[2]{0} multiply(%a.1, %p.1), metadata={op_name="jit(step)/jvp(M)/two/mul"}
}

ENTRY %main (x: f32[2]) -> f32[2] {
  %x = f32[2]{0} parameter(0)
  %c = (f32[2]{0}, s32[]) while(%x), condition=%cond, body=%body
  %dot.1 = f32[2]{0} dot(%x, %x), metadata={op_name="jit(step)/jvp(M)/one/dot_general"}
  ROOT %f.1 = f32[2]{0} fusion(%x, %dot.1), kind=kLoop, calls=%fused_computation, \
metadata={op_name="jit(step)"}
}
"""


def test_fusions_are_named_by_their_result():
    names = _compiled_names.Names.of(_TEXT)
    assert names.module == "jit_step"
    assert names.scope_of("dot.1") == "jit(step)/jvp(M)/one/dot_general"
    assert names.scope_of("f.1") == "jit(step)/jvp(M)/two/mul"
    assert names.primitive_of("f.1") == "mul"
    assert (names.kind_of("f.1"), names.kind_of("c")) == ("fusion", "while")
    assert names.scope_of("unknown") == ""
