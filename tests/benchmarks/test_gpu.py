"""The table of a GPU, made on a CPU with small shapes."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from tests.benchmarks import figures, gpu

_VIT = {"variant": "ViT-mu/16", "batch_size": 8, "size": 64}
_DECODER = {
    "batch_size": 8,
    "length": 32,
    "vocab_size": 512,
    "features": 64,
    "num_layers": 1,
    "num_heads": 4,
}


def _flops_of_xla(case):
    """Those of forward and backward, before XLA has changed anything."""

    def loss(params, x):
        return case.model.apply({"params": params}, x)["logits"].sum()

    x = jax.ShapeDtypeStruct(case.batch["x"].shape, case.batch["x"].dtype)
    params = jax.eval_shape(case.model.init, jax.random.key(0), x)["params"]
    return jax.jit(jax.grad(loss)).lower(params, x).cost_analysis()["flops"]


@pytest.mark.parametrize("case", [gpu.vit(**_VIT), gpu.decoder(**_DECODER)])
def test_formula_of_operations_agrees_with_those_that_xla_counts(case):
    # The formula leaves out norms, activations, softmax; XLA also leaves out the gradient
    # of the input of the first layer.
    assert case.num_flops() == pytest.approx(_flops_of_xla(case), rel=0.15)


def test_decoder_has_124_million_parameters():
    case = gpu.decoder(batch_size=1)
    x = jax.ShapeDtypeStruct((1, 1024), np.int32)
    params = jax.eval_shape(case.model.init, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6 == pytest.approx(
        124, abs=1
    )


def test_command_prints_a_table_and_writes_its_numbers(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    monkeypatch.setattr(figures, "LATEST", tmp_path / "build/benchmarks.json")
    flags = ["--peak-tflops=0.5", "--steps=2", "--rounds=2"]
    assert gpu.main(flags, [gpu.decoder(**_DECODER)]) == 0
    out = capsys.readouterr().out
    assert "| decoder, 8 rows of 32 tokens: step | " in out
    run = json.loads((tmp_path / "build/benchmarks_gpu.json").read_text())
    ratio, mfu = (figures.Figure(**x) for x in run["figures"])
    assert ratio.value > 0 and ratio.num_rounds == 2
    raw_ms = float(ratio.against.partition("(")[2].split()[0])
    secs = ratio.value * raw_ms / 1e3
    expected = 100 * gpu.decoder(**_DECODER).num_flops() / (secs * 0.5e12)
    assert mfu.value == pytest.approx(expected, rel=0.5)  # medians of other rounds
    assert "cpu" in run["machine"]["processor"]


def test_unknown_device_asks_for_its_peak(capsys):
    assert gpu.main([]) == 2
    assert "give it by --peak-tflops" in capsys.readouterr().out
