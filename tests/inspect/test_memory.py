"""Memory of a step: parts worked out by hand, what the compiler plans, and advice."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re

import flax.linen as nn
import optax
import pytest

from kauldron import kd, konfig
from kauldron.inspect import _cpu_scratch, _in_simulation
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile")

_KERNEL, _BIAS = 3 * 16 * 4, 16 * 4


def trainer(**changes):
    model = kd.nn.Sequential(inputs="batch.x", outputs="logits", layers=[nn.Dense(16)])
    return small_run.make_trainer(None, **{"model": model, **changes})


def config(**changes):
    with konfig.imports():
        import optax as lazy_optax
        from flax import linen as lazy_nn

        from kauldron import kd as lazy_kd
        from tests.train import small_run as lazy_run

    cfg = lazy_kd.train.Trainer(**changes)
    cfg.train_ds = lazy_run.make_ds()
    cfg.model = lazy_kd.nn.Sequential(
        inputs="batch.x", outputs="logits", layers=[lazy_nn.Dense(16)]
    )
    cfg.num_train_steps = 1
    cfg.train_losses = {
        "xentropy": lazy_kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.logits", labels="batch.label"
        )
    }
    cfg.optimizer = lazy_optax.adam(1e-2)
    return cfg


@pytest.fixture(scope="module")
def run(quick_compile):
    mesh = kd.sharding.Mesh(axes={"data": 2, "fsdp": 4}, paths={"**.bias": ()})
    return trainer(sharding=mesh)


@pytest.fixture(scope="module")
def report(run):
    return kd.inspect.sharding_report(run, link_gb_per_s=50)


def test_each_part_has_the_bytes_of_one_device(report):
    held = _KERNEL // 4 + _BIAS
    rows = 16 // 8 * (3 * 4 + 4)  # two examples of f32[3] and i32[1]
    found = dict(report.memory.num_bytes)
    activations = found.pop("activations")
    assert found == {
        "params": held,
        "opt_state": 2 * held + 4,
        "batch": rows,
        "next_batch": rows,
        "gradients": held,
    }
    # At least the logits of two examples, at most a few kB of so small a model.
    assert 2 * 16 * 4 <= activations < 4096
    assert report.memory.peak_num_bytes == sum(found.values()) + activations
    assert (report.memory.num_params, report.memory.method) == (64, "compiled")


def test_temporary_memory_is_what_the_compiler_plans(run, report):
    plan = small_run.compile_step(run).memory_analysis()
    found = report.memory.num_bytes
    outputs = plan.output_size_in_bytes - plan.alias_size_in_bytes
    temporary = plan.temp_size_in_bytes + outputs
    assert found["gradients"] + found["activations"] == temporary


def test_report_reads_and_is_the_same_behind_json(report):
    text = str(report)
    assert "64 parameters on 8 devices: data=2, fsdp=4" in text
    assert "In a step each device sends" in text
    assert "One after the other they take" in text and "at 50 GB/s" in text
    values = json.loads(json.dumps(report.as_dict()))
    assert kd.inspect.ShardingReport.from_dict(values) == report
    assert values["link_seconds"] == sum(c["seconds"] for c in values["collectives"])


def test_gradients_are_summed_over_the_devices_of_the_batch(report):
    """The kernel's gradient, and the bias's, over all devices that have other rows."""
    sums = [c for c in report.collectives if c.kind in ("all-reduce", "reduce-scatter")]
    gradients = [c for c in sums if any("16]" in a for a in c.arrays)]
    assert gradients
    assert {axis for c in gradients for axis in c.mesh_axes} == {"data", "fsdp"}


def test_a_process_with_other_devices_answers_with_mistakes(monkeypatch, capsys):
    request = {
        "cfg": config(sharding="fsdp=5").to_json(),
        "function": "estimate_memory",
        "options": {},
    }
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(request)))
    _in_simulation.main()
    answer = json.loads(capsys.readouterr().out)
    assert "has 5 devices" in answer["mistake"] and "there are 8" in answer["mistake"]


def test_a_process_with_other_devices_that_dies_is_told(monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(kd.inspect.SimulationFailure, match="ended with code 1"):
        kd.inspect.estimate_memory(config(), num_devices=12)


@pytest.mark.parametrize(
    ("run", "options", "words"),
    [
        (trainer, {"num_devices": 16}, "a config is needed"),
        (trainer, {"num_devices": 0}, "must be >= 1: got 0"),
        (trainer, {"device_gb": -1.0}, "must be larger than 0: got -1"),
        (config, {"num_devices": 4096, "compiles": True}, "up to 2048 simulated"),
        (lambda: 3, {}, "got a int"),
        (lambda: trainer(optimizer=None), {}, "has no optimizer"),
        (
            lambda: trainer(train_ds=small_run.make_ds(batch_size=12)),
            {},
            "split over 8 devices, but has 12 entries",
        ),
    ],
)
def test_what_cannot_be_looked_at_is_told(run, options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        kd.inspect.estimate_memory(run(), **options)


def _memory(**num_bytes):
    parts = dict.fromkeys(("params", "opt_state", "gradients", "activations"), 0)
    return kd.inspect.MemoryEstimate(
        num_devices=8,
        mesh={"data": 8},
        method="estimated",
        platform="cpu",
        num_params=10**9,
        rows_per_device=2,
        num_bytes={**parts, **num_bytes},
        state_num_bytes=12 * 10**9,
        device_gb=10.0,
    )


def test_advice_begins_with_what_saves_most():
    whole = _memory(params=4 * 10**9, opt_state=8 * 10**9, gradients=4 * 10**9)
    assert whole.fits is False
    assert "It does not fit: 16.0 GB of 10.0 GB (160.0%)." in str(whole)
    # 12 GB of state, an eighth of it on each of 8 devices.
    assert "sharding=fsdp` splits" in whole.advice[0]
    assert "1.5 GB of them on each, now 12.0 GB" in whole.advice[0]
    long = _memory(params=10**9, opt_state=5 * 10**8, activations=9 * 10**9)
    assert "Activations take 9.0 GB, of 2 examples on each device" in long.advice[0]
    single = dataclasses.replace(long, rows_per_device=1)
    assert "grad_accum_steps" not in str(single)
    fitting = dataclasses.replace(long, device_gb=80.0)
    assert (fitting.fits, fitting.advice) == (True, ())


def test_estimate_counts_what_is_alive_together():
    """Of a chain of matmuls: their results and, backwards, one gradient more."""
    rows, width, layers = 64, 128, 6
    model = kd.nn.Sequential(
        inputs="batch.x",
        outputs="logits",
        layers=[layer for _ in range(layers) for layer in (nn.Dense(width), nn.tanh)],
    )
    run = trainer(
        model=model,
        train_ds=small_run.make_ds(batch_size=rows, num_epochs=None),
        optimizer=optax.sgd(1e-2),
        sharding=kd.sharding.ShardingStrategy(batch=kd.sharding.REPLICATED),
        train_metrics={},
    )
    estimated = kd.inspect.estimate_memory(run, compiles=False)
    compiled = kd.inspect.estimate_memory(run)
    found = sum(estimated.num_bytes[k] for k in ("gradients", "activations"))
    value, weight = rows * width * 4, width * width * 4
    # The values behind each tanh are kept; all gradients are there at the end.
    assert layers * value <= found <= layers * (value + weight) + 6 * value
    assert math.isclose(estimated.peak_num_bytes, compiled.peak_num_bytes, rel_tol=0.25)


def test_batches_that_the_compiler_does_not_split_are_told():
    """Wide layers and few rows: it rather splits the features, and sums over them."""
    layers = [nn.Dense(256, use_bias=False) for _ in range(2)]
    model = kd.nn.Sequential(inputs="batch.x", outputs="logits", layers=layers)
    run = trainer(model=model, sharding="fsdp", train_metrics={})
    found = kd.inspect.sharding_report(run)
    assert "f32[16,256]" in found.whole_batches
    assert "Each device computes all rows of the batch for f32[16," in str(found)


_CONVOLUTIONS = """
ENTRY %main {
  %x = f32[64,8,8,32]{3,2,1,0} parameter(0)
  %w = f32[3,3,32,64]{3,2,1,0} parameter(1)
  %a = f32[64,4,4,64]{3,2,1,0} convolution(%x, %w), window={size=3x3 stride=2x2 \
pad=0_1x0_1}, dim_labels=b01f_01io->b01f
  %b = f32[64,8,8,32]{3,2,1,0} convolution(%a, %w), window={size=3x3 pad=2_1x2_1 \
lhs_dilate=2x2}, dim_labels=b01f_01oi->b01f
}
"""


def test_convolutions_unfold_their_input():
    """64 examples, 4 x 4 places, patches of 3 x 3 x 32 numbers of 4 bytes."""
    assert _cpu_scratch.largest_convolution(_CONVOLUTIONS) == 64 * 16 * 9 * 32 * 4
