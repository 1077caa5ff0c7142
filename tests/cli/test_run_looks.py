"""`kauldron run params|flops|explain_key|profile`: as the functions of their names."""

from __future__ import annotations

import json

import pytest

from kauldron.cli import run_looks

_CFG = "--cfg=examples/digits_classifier.py"


def test_parameters_are_printed_and_are_json(call):
    code, out, err = call(run_looks.params, _CFG, "--depth=1")
    assert code == 0, err
    assert out.splitlines()[-1] == "29,066 numbers in 6 arrays, 116.3 kB"
    code, out, err = call(run_looks.params, _CFG, "--depth=1", "--json")
    rows = {row["name"]: row["numbers"] for row in json.loads(out)}
    # 3 x 3 x 1 x 32 + 32, 3 x 3 x 32 x 64 + 64, 1024 x 10 + 10.
    assert rows == {"layers_0": 320, "layers_2": 18496, "layers_6": 10250}


def test_a_key_is_explained_and_its_absence_is_told(call):
    code, out, err = call(run_looks.explain_key, "preds.logits", _CFG)
    assert code == 0, err
    assert out.startswith("preds.logits: f32[64 10]")
    code, _, err = call(run_looks.explain_key, "preds.logit", _CFG)
    assert code == 2 and "'preds.logits'" in err
    code, _, err = call(run_looks.explain_key, _CFG)
    assert code == 2 and "Say which key" in err


@pytest.mark.slow
def test_profile_tells_where_the_time_of_a_step_goes(call):
    options = ("--steps=1", "--depth=1", "--json")
    code, out, err = call(run_looks.profile, _CFG, *options)
    assert code == 0, err
    found = json.loads(out)
    times = {row["module"]: row["all"] for row in found["modules"]}
    assert {"layers_0", "layers_2", "layers_6", "(optimizer)"} <= set(times)
    assert sum(times.values()) == pytest.approx(found["busy_ms"])
    assert found["num_steps"] == 1


@pytest.mark.slow
def test_profile_writes_a_trace_of_training_to_a_new_folder(call, tmp_path):
    out = tmp_path / "trace"
    code, told, err = call(run_looks.profile, _CFG, f"--out={out}", "--steps=2")
    assert code == 0, err
    assert list(out.glob("profile/plugins/profile/*/*.xplane.pb"))
    assert "The trace of 2 steps" in told
    code, _, err = call(run_looks.profile, _CFG, f"--out={out}")
    assert code == 2 and "is not empty: name a new folder" in err
