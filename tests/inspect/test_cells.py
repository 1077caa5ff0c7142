"""A notebook, cell by cell, in a real kernel: what is redefined, errors, pdb, curves."""

from __future__ import annotations

import re
import time

import pytest

from tests import kernels

pytestmark = pytest.mark.smoke

_SETUP = """
import dataclasses
import importlib

import __main__ as here
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from kauldron import kd, konfig


class Points:
    def __len__(self):
        return 8

    def __getitem__(self, i):
        return {"x": np.full(3, i, np.float32), "y": np.full(1, i, np.float32)}


def get_config():
    with konfig.mock_modules():
        cfg = kd.train.Trainer()
        cfg.train_ds = kd.data.py.DataSource(
            data_source=here.Points(), batch_size=8, shuffle=False
        )
        cfg.model = here.Model()
        cfg.num_train_steps = 2
        cfg.train_losses = {"own": here.OwnLoss()}
        cfg.train_metrics = {"own": here.OwnMetric()}
        cfg.optimizer = optax.sgd(0.0)
        cfg.workdir = "run"
    return cfg
"""
_HELPER = """
def scaled(x):
    return x * {factor}
"""
_MODEL = """
class Model(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        weight = self.param("weight", nn.initializers.ones, ())
        return {{"y": scaled(x[..., :1] * weight) {change}}}
"""
_LOSS = """
@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnLoss(kd.losses.Loss):
    {fields}

    def get_values(self, {names}):
        return {value}
"""
_METRIC = """
@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnMetric(kd.metrics.Metric):
    y: kd.kontext.Key = "preds.y"

    def get_state(self, y):
        return kd.metrics.AverageState.from_values({value})
"""
_LOOK = """
trainer = konfig.resolve(get_config())
look = kd.inspect.look_at_step(trainer)
numbers = {r["name"]: round(r["value"], 4) for r in look.values.as_dicts()}
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    with kernels.start(tmp_path_factory.mktemp("notebook")) as kernel:
        yield kernel


@pytest.fixture
def kernel(started):
    """One kernel for all, in which each test begins with the same definitions."""
    run_all(
        started,
        _SETUP,
        _HELPER.format(factor="1.0"),
        _MODEL.format(change=""),
        _LOSS.format(fields='y: kd.kontext.Key = "preds.y"', names="y", value="y"),
        _METRIC.format(value="y"),
    )
    return started


def run_all(kernel, *cells):
    for code in cells:
        cell = kernel.run(code)
        assert cell.error is None, cell.traceback
    return cell


def numbers(kernel):
    run_all(kernel, _LOOK)
    return kernel.value("numbers['losses/own'], numbers['metrics/own']")


def test_each_redefined_part_counts_from_the_next_cell_on(kernel):
    """The mean of 0 ... 7 is 3.5; the same names stand for something else each time."""
    assert numbers(kernel) == (3.5, 3.5)
    run_all(kernel, _MODEL.format(change="* 2"))
    assert numbers(kernel) == (7.0, 7.0)
    run_all(kernel, _HELPER.format(factor="10.0"))
    assert numbers(kernel) == (70.0, 70.0)
    run_all(kernel, _METRIC.format(value="y + 1"))
    assert numbers(kernel) == (70.0, 71.0)
    more = 'y: kd.kontext.Key = "preds.y"\n    x: kd.kontext.Key = "batch.x"'
    more += "\n    factor: float = 1.0"
    value = "(y + x[..., :1]) * self.factor"
    run_all(kernel, _LOSS.format(fields=more, names="y, x", value=value))
    assert numbers(kernel) == (73.5, 71.0)
    run_all(kernel, "config_of = get_config")
    run_all(
        kernel,
        "def get_config():\n"
        "    cfg = config_of()\n"
        "    cfg.train_losses.own.factor = 2.0\n"
        "    return cfg",
    )
    assert numbers(kernel) == (147.0, 71.0)
    run_all(kernel, "class Points(Points):\n    def __len__(self):\n        return 4")
    run_all(kernel, _LOOK.replace("get_config()", "get_config()", 1))
    assert kernel.value("len(trainer.train_ds.data_source)") == 4


def test_a_look_at_the_same_trainer_sees_a_helper_that_has_changed(kernel):
    run_all(kernel, _LOOK, _HELPER.format(factor="3.0"))
    run_all(
        kernel,
        "seen = float(kd.inspect.look_at_step(trainer).context.preds['y'][1, 0])",
    )
    assert kernel.value("seen") == 3.0
    run_all(kernel, _HELPER.format(factor="1.0"))
    run_all(kernel, "seen = float(trainer.debug()[1].preds['y'][1, 0])")
    assert kernel.value("seen") == 1.0


def test_a_module_that_is_reloaded_is_what_configs_mean(kernel, tmp_path):
    path = tmp_path / "own_part.py"
    text = (
        "import dataclasses\nfrom kauldron import kd\n"
        "@dataclasses.dataclass(frozen=True, kw_only=True)\n"
        "class Part(kd.losses.Loss):\n"
        "    y: kd.kontext.Key = 'preds.y'\n"
        "    def get_values(self, y):\n"
        "        return y\n"
    )
    path.write_text(text)
    run_all(
        kernel, f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import own_part"
    )
    changed = (
        "with konfig.mock_modules():\n    part = own_part.Part({})\n"
        "loss = konfig.resolve(part)\n"
        "value = float(loss.get_state(y=jnp.full((2, 1), 3.0)).compute())"
    )
    run_all(kernel, changed.format(""))
    assert kernel.value("value") == 3.0
    text = text.replace("return y", "return y * self.factor")
    path.write_text(text.replace("    def", "    factor: float = 2.0\n    def"))
    run_all(kernel, "importlib.reload(own_part)", changed.format("factor=5.0"))
    assert kernel.value("value") == 15.0


def test_an_error_in_a_model_shows_the_cell_and_the_line_of_the_user(kernel):
    run_all(kernel, _MODEL.format(change="@ jnp.zeros((7, 2))"))
    run_all(kernel, "trainer = konfig.resolve(get_config())")
    for code in ("trainer.init_state()", "trainer.train()", "trainer.check()"):
        cell = kernel.run(code)
        lines = [line for line in cell.traceback.splitlines() if line]
        assert re.fullmatch(r"Cell In\[\d+\]:1", lines[0])
        assert lines[1].strip() == code
        assert "@ jnp.zeros((7, 2))" in cell.traceback
        assert re.search(r"Cell In\[\d+\]:7, in __call__", cell.traceback)
        assert "in the model (Model)" in cell.traceback
        assert len(lines) < 15
        assert (
            "kauldron/" not in cell.traceback and "site-packages" not in cell.traceback
        )


def test_an_error_in_a_config_names_the_cell_that_wrote_it(kernel):
    run_all(kernel, "cfg = get_config()\ncfg.train_losses.own.weigth = 1")
    cell = kernel.run("konfig.resolve(cfg)")
    assert cell.error[0] == "ConfigTypeError"
    assert re.search(
        r"`cfg.train_losses.own.weigth` \(Cell In\[\d+\]:2\)", cell.traceback
    )
    assert "Did you mean 'weight'" in cell.traceback
    cell = kernel.run("with konfig.mock_modules():\n    cfg.model = Model()")
    assert "`here.Model`" in cell.traceback
    assert len(cell.traceback.splitlines()) < 12


def test_all_frames_are_shown_where_they_are_asked_for(kernel):
    run_all(kernel, "%xmode Verbose")
    cell = kernel.run("konfig.resolve(cfg)")
    run_all(kernel, "%xmode Context")
    assert "kauldron/konfig" in cell.traceback


def test_a_breakpoint_in_a_model_is_stood_in_with_numbers(kernel):
    run_all(
        kernel,
        "trainer = konfig.resolve(get_config())\nstate = trainer.init_state()",
        _HELPER.format(factor="1.0").replace("return", "breakpoint()\n    return"),
    )
    # Initialization calls the model as well, on shapes: it is done before.
    cell = kernel.run(
        "next_state, context = trainer.debug(state)",
        answers=(
            "p float(jax.lax.stop_gradient(x)[2, 0])",
            "p x.shape",
            "up",
            "p self.name, weight",
            "c",
        ),
    )
    assert cell.error is None, cell.traceback
    assert "2.0" in cell.stdout and "(8, 1)" in cell.stdout
    assert kernel.value("int(next_state.step)") == 1


def test_a_failing_batch_is_replayed_in_a_cell(kernel):
    run_all(
        kernel,
        _HELPER.format(factor="jnp.where(x > 6, jnp.nan, 1.0)"),
        "cfg = get_config()\ncfg.workdir = 'failing'\n"
        "with konfig.mock_modules():\n"
        "    cfg.nan_guard = kd.train.NanGuard(policy='stop')",
        "trainer = konfig.resolve(cfg)",
    )
    cell = kernel.run("trainer.train()")
    assert cell.error[0] == "NonfiniteError"
    assert len(cell.traceback.splitlines()) < 12
    cell = run_all(kernel, "kd.inspect.replay(trainer)")
    text = cell.shown[-1]["text/plain"]
    assert text.startswith("Step 0, values that are not finite")
    assert "preds.y f32[8 1]: 1 NaN" in text
    assert re.search(
        r"nan generated by primitive: mul \(Cell In\[\d+\]:2, scaled\)", text
    )


_LONG = """
cfg = get_config()
cfg.workdir = {workdir!r}
cfg.num_train_steps = {steps}
cfg.log_metrics_every = 10
with konfig.mock_modules():
    cfg.optimizer = optax.sgd(1e-3)
    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=10**9)
trainer = konfig.resolve(cfg)
"""
_SLOW = """
class Points(Points):
    def __getitem__(self, i):
        import time
        time.sleep(0.002)
        return super().__getitem__(i)
"""


def test_losses_are_drawn_while_a_cell_trains(kernel):
    run_all(kernel, _SLOW, _LONG.format(workdir="drawn", steps=200))
    cell = run_all(kernel, "state, aux = trainer.train()")
    drawn = [u["text/html"] for u in cell.updates if "<svg" in u.get("text/html", "")]
    assert len(drawn) >= 2
    assert len(set(drawn)) >= 2  # they go on
    assert "100%" in cell.updates[-1]["text/plain"]
    assert kernel.value("int(state.step)") == 200


def test_the_interrupt_button_saves_and_the_cell_run_again_continues(kernel):
    run_all(kernel, _LONG.format(workdir="stopped", steps=100_000))
    pressed = []

    def press(cell):
        if not pressed and any("<svg" in u.get("text/html", "") for u in cell.updates):
            pressed.append(time.monotonic())
            kernel.interrupt()

    cell = kernel.run("trainer.train()", while_running=press)
    assert pressed and time.monotonic() - pressed[0] < 30
    assert cell.error[0] == "TrainingInterrupted"
    assert "The run is saved" in cell.traceback
    assert len(cell.traceback.splitlines()) == 1
    step = kernel.value("trainer.checkpointer.latest_step")
    assert 0 < step < 100_000
    run_all(kernel, f"trainer = trainer.replace(num_train_steps={step} + 3)")
    run_all(kernel, "state, aux = trainer.train()")
    assert kernel.value("int(state.step)") == step + 3
