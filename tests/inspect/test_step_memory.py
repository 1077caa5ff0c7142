"""Where the bytes of a step go, and what is on the devices: worked out by hand."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd
from kauldron.inspect import _live_bytes, _lowered_step, _step_places
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile")


class _Wide(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="down")(jnp.sin(nn.Dense(500, name="up")(x)))


class _Model(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        x = nn.remat(_Wide)(name="wide")(x)
        return {"logits": nn.Dense(16, name="head")(x)}


def _trainer(model=None, **changes):
    return small_run.make_trainer(
        None,
        model=_Model() if model is None else model,
        optimizer=optax.adam(1e-2),
        sharding=kd.sharding.ShardingStrategy(batch=kd.sharding.REPLICATED),
        **changes,
    )


@pytest.fixture(scope="module")
def memory(quick_compile):
    return kd.inspect.step_memory(_trainer(), depth=2)


def test_modules_keep_parameters_gradients_and_two_moments(memory):
    rows = {r["module"]: r for r in memory["Modules"].as_dicts()}
    up = 4 * (3 * 500 + 500)  # f32
    assert rows["wide.up"] == {
        "module": "wide.up",
        "params": up,
        "gradients": up,
        "optimizer, others": 2 * up,
        "all": 4 * up,
        "size": "32.0 kB",
    }
    assert rows["(others)"]["all"] == 4  # the count of Adam
    assert rows["head"]["params"] == 4 * (3 * 16 + 16)


def test_largest_arrays_are_named_by_their_keys(memory):
    rows = memory["Largest arrays"].as_dicts()
    names = {f"wide.{name}.kernel" for name in ("up", "down")}
    trees = ("params", "opt_state[0].mu", "opt_state[0].nu")
    assert {r["name"] for r in rows[:6]} == {f"{t}.{n}" for t in trees for n in names}
    sizes = [r["bytes"] for r in rows]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 4 * 3 * 500
    [more] = memory["Largest arrays"].notes
    assert more.endswith("smaller arrays")


def test_the_widest_value_is_there_at_the_peak_with_its_module(memory):
    rows = memory["At the peak"].as_dicts()
    assert rows[0]["module"].startswith("wide")
    # 16 rows of 500, or a gradient or moment of one of the kernels around them.
    assert rows[0]["array"] in ("f32[16 500]", "f32[3 500]", "f32[500 3]")
    assert any(r["array"] == "f32[16 500]" for r in rows)
    assert {r["pass"] for r in rows} <= {"forward", "backward"}


@pytest.mark.parametrize("model", [_Model(), None], ids=["remat", "plain"])
def test_values_at_the_peak_sum_up_to_the_estimate(model):
    plain = kd.nn.Sequential(
        inputs="batch.x",
        outputs="logits",
        layers=[nn.Dense(64), nn.tanh, nn.Dense(16)],
    )
    trainer = _trainer(model or plain)
    step, (state, batch) = _lowered_step.as_function(trainer)
    rows = _lowered_step.batch_rows(trainer)
    held = _live_bytes.held_at_peak(step, state, batch, rows)
    # Nothing is split over devices, so no operation gathers what it multiplies.
    total = sum(one.num_bytes for one in held)
    assert total == _live_bytes.peak(step, state, batch, rows)


def test_sections_read_as_text_and_as_html(memory):
    assert list(memory.parts) == ["Parts", "Modules", "Largest arrays", "At the peak"]
    assert memory["Parts"].num_bytes["params"] == 4 * (2000 + 1503 + 64)
    for title in memory.parts:
        assert title in str(memory) and title in memory._repr_html_()


@pytest.mark.parametrize(
    ("scope", "name", "is_backward"),
    [
        ("jit(step)/jvp(Model)/wide/up/dot_general", "wide.up", False),
        ("transpose(jvp(Model))/wide/CheckpointWide/up/add", "wide.up", True),
        ("jvp(Model)/wide.encode/up/add", "wide.up", False),
        ("jvp(Model)/while/body/wide/sin", "wide", False),
        ("jit(step)/jvp(Model)/add", "(model)", False),
        ("jvp(losses)/jit(log_softmax)/sub", "(losses)", False),
        ("transpose(jvp(losses))/mul", "(losses)", True),
        ("jit(step)/optimizer/varying_numbers/mul", "(optimizer)", False),
        ("jit(step)/add", "(rest)", False),
        ("", "(rest)", False),
    ],
)
def test_scopes_are_read_as_modules_and_parts(scope, name, is_backward):
    places = _step_places.Places("Model", {("wide", "up"), ("head",)})
    place = places.read(scope)
    assert (place.name(), place.is_backward) == (name, is_backward)
    assert places.read("jvp(Model)/wide/up/add").name(1) == "wide"


def test_arrays_on_devices_are_told_by_who_holds_them():
    state = _trainer().init_state()
    lost = jnp.zeros((7, 11, 13), jnp.float16)
    split = jax.device_put(
        np.zeros((8, 5), np.float32),
        kd.sharding.Mesh(axes={"data": 8}).batch,
    )
    table = kd.inspect.live_arrays(state=state, mine={"x": split})
    rows = {r["held by"]: r for r in table.as_dicts()}
    num_params = 2000 + 1503 + 64
    copies = len(jax.tree.leaves(state.params)[0].sharding.device_set)
    assert rows["state.params"]["bytes"] == copies * 4 * num_params
    assert rows["state.params"]["arrays"] == 6
    assert rows["state.opt_state"]["bytes"] == copies * (8 * num_params + 4)
    assert rows["mine.x"]["bytes"] == 4 * 8 * 5  # a row on each device
    assert rows["other f16[7 11 13]"]["bytes"] == 2 * lost.size
