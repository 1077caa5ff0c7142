"""`kauldron run repro`: the same parameters again, or a word on what differs."""

from __future__ import annotations

import json

import pytest

from kauldron.cli import repro, train

_RUN = ("--cfg=examples/digits_autoencoder.py", "--cfg.num_train_steps=3")


@pytest.fixture
def source(call, tmp_path):
    workdir = tmp_path / "run"
    devices = "--cfg.train_ds.batch_size=64"
    code, _, err = call(train.main, *_RUN, devices, f"--cfg.workdir={workdir}")
    assert code == 0, err
    return workdir


def test_a_run_is_done_again_with_the_same_bits_and_never_into_old_results(
    call, source
):
    args = (f"--workdir={source}", "--trust=examples")
    code, out, err = call(repro.main, *args)
    assert code == 0, err
    assert out.endswith("The same, bit for bit.\n")
    hashes = [line.split()[0] for line in out.splitlines() if "run" in line][-2:]
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 64

    code, _, err = call(repro.main, *args)
    assert code == 2
    assert "is not empty" in err

    # Another seed: the comparison is not blind.
    out_flag = f"--out={source}_other"
    code, out, err = call(repro.main, *args, out_flag, "--cfg.seed=1")
    assert code == 1
    assert "The parameters differ." in err


def test_a_run_that_does_not_exist_is_a_mistake(call, tmp_path):
    code, _, err = call(repro.main, f"--workdir={tmp_path / 'nothing'}")
    assert code == 2
    assert "There is no workdir" in err
    assert not (tmp_path / "nothing_repro").exists()


def test_changes_since_the_run_are_listed(call, source):
    path = source / "launches" / "0.json"
    launch = json.loads(path.read_text())
    launch["packages"]["jax"] = "0.1"
    path.write_text(json.dumps(launch))
    code, out, _ = call(repro.main, f"--workdir={source}", "--trust=examples")
    assert code == 0
    assert "  jax: 0.1 then" in out
