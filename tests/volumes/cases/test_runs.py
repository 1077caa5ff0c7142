"""Cases in a run: trained on, resumed, and kept to when the folder changes."""

from __future__ import annotations

import json

import flax.linen as nn
import numpy as np
import optax
import pytest

from kauldron import kd
from kauldron.runs import reproduction
from tests.volumes.cases import volumes_on_disk

SPLIT = {"train": 0.5, "val": 0.5}


class _Voxelwise(nn.Module):
    x: kd.kontext.Key = "batch.ct"

    @nn.compact
    def __call__(self, x):
        return {"logits": nn.Dense(3)(x / 1e4)}


def _ds(root, part, **fields):
    groups = {
        "ct": kd.volumes.Group("ct.npy"),
        "seg": kd.volumes.Group("seg.npy", is_label=True, num_labels=3),
    }
    split = kd.volumes.Split(part, SPLIT, by="shuffle")
    return kd.volumes.VolumeCases(root, groups=groups, split=split, **fields)


def _trainer(root, workdir, *, num_steps=3):
    patches = kd.volumes.RandomPatch(size=(4, 4, 4), foreground_prob=0.5, by="seg")
    loss = kd.losses.SoftmaxCrossEntropyWithIntLabels(
        logits="preds.logits", labels="batch.seg"
    )
    evaluator = kd.evals.Evaluator(
        run=kd.evals.EveryNSteps(100),
        ds=_ds(root, "val", batch_size=8, num_epochs=1, shuffle=False),
    )
    return kd.train.Trainer(
        seed=1,
        workdir=workdir,
        train_ds=_ds(root, "train", batch_size=8, patches=patches),
        model=_Voxelwise(),
        optimizer=optax.sgd(0.1),
        train_losses={"seg": loss},
        evals={"val": evaluator},
        num_train_steps=num_steps,
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=1),
    )


def test_a_run_keeps_to_its_cases_when_others_are_added(tmp_path, capsys):
    root = volumes_on_disk.write_cases(tmp_path / "cases", 6)
    trainer = _trainer(root, tmp_path / "run")
    trainer.train()
    records = json.loads((tmp_path / "run/data_records.json").read_text())
    chosen = {r["source"]["split"]["part"]: r["cases"] for r in records}
    assert sorted(chosen["train"] + chosen["val"]) == [f"case_{i}" for i in range(6)]

    for number in range(6, 16):
        volumes_on_disk.write_case(root / f"case_{number}", number)
    resumed = _trainer(root, tmp_path / "run", num_steps=5)
    assert list(resumed.train_ds.case_names) == chosen["train"]
    assert list(resumed.evals["val"].ds.case_names) == chosen["val"]
    assert "goes on with its 3 cases, without case_" in capsys.readouterr().err
    resumed.train()
    elsewhere = _trainer(root, tmp_path / "another")
    assert len(elsewhere.train_ds.case_names) == 8

    (root / chosen["train"][0]).rename(tmp_path / "gone")
    with pytest.raises(kd.volumes.VolumeError, match="no longer in") as error:
        _trainer(root, tmp_path / "run", num_steps=7).train()
    assert chosen["train"][0] in str(error.value)


@pytest.mark.slow
def test_nothing_is_said_of_geometries_that_devices_keep_in_32_bits(tmp_path, capsys):
    trainer = _trainer(volumes_on_disk.write_cases(tmp_path / "cases", 4), tmp_path)
    assert trainer.train_ds.element_spec["ct_geometry"]["origin"].dtype == np.float64
    trainer.check()
    assert "float64" not in capsys.readouterr().err


def test_a_run_is_done_again_with_the_cases_that_it_had(tmp_path):
    root = volumes_on_disk.write_cases(tmp_path / "cases", 6)
    _trainer(root, tmp_path / "run").train()
    for number in range(6, 16):
        volumes_on_disk.write_case(root / f"case_{number}", number)
    again = _trainer(root, tmp_path / "again")
    assert reproduction.reproduce(again, tmp_path / "run").is_same


@pytest.mark.slow
def test_a_resumed_run_has_the_same_parameters_bit_for_bit(tmp_path):
    root = volumes_on_disk.write_cases(tmp_path / "cases", 6)
    whole, _ = _trainer(root, tmp_path / "whole", num_steps=4).train()
    _trainer(root, tmp_path / "parts", num_steps=2).train()
    parts, _ = _trainer(root, tmp_path / "parts", num_steps=4).train()
    kernel = whole.params["Dense_0"]["kernel"]
    np.testing.assert_array_equal(kernel, parts.params["Dense_0"]["kernel"])
