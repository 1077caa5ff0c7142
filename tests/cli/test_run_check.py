"""`kauldron run check`: also what a run starts from has to fit; a run without a reader."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from kauldron import kd
from kauldron.cli import run, train

_LOADS = """
from examples import digits_classifier
from kauldron import konfig

with konfig.imports():
    from kauldron import kd


def get_config():
    cfg = digits_classifier.get_config()
    cfg.evals = {{}}
    cfg.init_transform = kd.ckpts.PartialKauldronLoader(workdir={source!r})
    return cfg
"""


def test_a_source_that_is_not_there_or_does_not_fit_is_found(call, tmp_path):
    source = tmp_path / "source"
    config = tmp_path / "config.py"
    config.write_text(_LOADS.format(source=str(source)))
    code, out, err = call(run.check, f"--cfg={config}")
    assert (code, out) == (2, "")
    assert str(source) in err
    step = "--cfg.num_train_steps=1"
    digits = "--cfg=examples/digits_classifier.py"
    saved = call(train.main, digits, step, "--cfg.evals={}", f"--cfg.workdir={source}")
    assert saved[0] == 0, saved
    code, out, err = call(run.check, f"--cfg={config}")
    assert (code, out) == (0, "Every key exists, and every shape fits.\n"), err
    rules = "--cfg.init_transform.new_to_old={'params/layers_0':'params/layers_0'}"
    code, _, err = call(run.check, f"--cfg={config}", rules)
    assert code == 2
    assert "Did you mean 'params.layers_0'?" in err
    wider = "--cfg.aux.num_features=48"
    code, _, err = call(run.check, f"--cfg={config}", wider)
    assert code == 2
    assert "[3, 3, 1, 32] in the checkpoint, expected float32[3, 3, 1, 48]" in err


def test_a_run_that_continues_needs_no_source(call, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(_LOADS.format(source=str(tmp_path / "gone")))
    workdir = tmp_path / "run"
    with kd.ckpts.Checkpointer(workdir=workdir, save_interval_steps=1) as saving:
        saving.save({"x": 1}, step=1)
    code, _, err = call(run.check, f"--cfg={config}", f"--cfg.workdir={workdir}")
    assert code == 0, err


def test_a_run_goes_on_when_nobody_reads_its_messages_any_more(tmp_path):
    read, write = os.pipe()
    command = [
        *(sys.executable, "-m", "kauldron.cli.main", "train"),
        "--cfg=examples/digits_classifier.py",
        f"--cfg.workdir={tmp_path / 'run'}",
        "--cfg.num_train_steps=60",
        "--cfg.checkpointer.save_interval_steps=20",
        "--cfg.evals={}",
    ]
    process = subprocess.Popen(command, stdout=write, stderr=write)
    os.close(write)
    os.read(read, 1)
    os.close(read)
    assert process.wait(120) == 0
    status = json.loads((tmp_path / "run/status.json").read_text())
    assert (status["state"], status["step"]) == ("done", 60)
