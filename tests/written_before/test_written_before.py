"""Configs, checkpoints and workdirs of earlier releases load, however files move."""

from __future__ import annotations

import functools
import json
import pathlib
import shutil

import numpy as np
import pytest

from kauldron import kd, konfig

_FIXTURE = pathlib.Path(__file__).parent / "fixture"
_SPELLINGS = json.loads((_FIXTURE / "spellings.json").read_text())
# Helpers of commands that were public by accident; nothing that a config would call.
for _name in ("check_names", "check_suffix", "default_keys"):
    del _SPELLINGS[f"kd.evals.{_name}"]
# Annotations, which were `typing.Any`.
for _name in ("kd.kontext.Context", "kd.sharding.ShardingTree"):
    del _SPELLINGS[_name]


@pytest.fixture
def workdir(tmp_path):
    return shutil.copytree(_FIXTURE / "run", tmp_path / "run")


def load_config(workdir, **changes):
    cfg = konfig.load(workdir, trusted=["examples"])
    cfg.workdir = str(workdir)
    for name, value in changes.items():
        cfg[name] = value
    return cfg


def find_public(name):
    return functools.reduce(getattr, name.split(".")[1:], kd)


@pytest.mark.parametrize("room", sorted({n.split(".")[1] for n in _SPELLINGS}))
def test_saved_names_give_the_public_object(room):
    for name, saved in _SPELLINGS.items():
        if name.split(".")[1] == room:
            cfg = konfig.ConfigDict({"x": {"__const__": saved}})
            assert konfig.resolve(cfg).x is find_public(name), name


def test_checkpoint_of_the_run_is_restored(workdir):
    trainer = konfig.resolve(load_config(workdir))
    state = trainer.checkpointer.restore(trainer.init_state())
    assert int(state.step) == 6
    bias = np.asarray(state.params["layers_0"]["bias"])
    assert np.isfinite(bias).all() and bias.any()  # 0 at the start


def test_run_goes_on_where_it_ended(workdir):
    konfig.resolve(load_config(workdir, num_train_steps=8)).train()
    lines = [
        json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()
    ]
    assert lines[0]["step"] == 0 and lines[0]["collection"] == "eval"
    assert json.loads((workdir / "status.json").read_text())["step"] == 8
    assert (workdir / "checkpoints" / "ckpt_8").is_dir()
