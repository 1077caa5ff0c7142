"""Datasets of cases in configs: every part can be changed by its name."""

from __future__ import annotations

import pytest

from kauldron import kd, konfig
from tests.volumes.cases import volumes_on_disk

with konfig.imports(lazy=True):
    from kauldron import kd as lazy_kd


def _cfg(root):
    groups = {
        "ct": lazy_kd.volumes.Group(
            "ct.npy",
            transforms={"clip": lazy_kd.volumes.transforms.Clip(low=0.0, high=9.0)},
        ),
        "seg": lazy_kd.volumes.Group("seg.npy", is_label=True),
    }
    return konfig.ConfigDict(
        {
            "train_ds": lazy_kd.volumes.VolumeCases(
                str(root),
                groups=groups,
                split=lazy_kd.volumes.Split("train", {"train": 0.5, "val": 0.5}),
                patches=lazy_kd.volumes.PatchGrid(size=(4, 4, 4)),
                batch_size=2,
                seed=0,
            )
        }
    )


def test_every_part_of_a_config_can_be_overridden(tmp_path):
    cfg = _cfg(volumes_on_disk.write_cases(tmp_path, 4))
    overrides = konfig.parse_overrides(
        [
            "--cfg.train_ds.groups.ct.transforms.clip.high=5.0",
            "--cfg.train_ds.groups.seg.num_labels=3",
            "--cfg.train_ds.split.by=order",
            "--cfg.train_ds.split.part=val",
            "--cfg.train_ds.patches.size=(2,2,2)",
            "--cfg.train_ds.on_bad_case=skip",
            "--cfg.train_ds.select=['~case_0', '~case_1']",
        ]
    )
    konfig.apply_overrides(cfg, overrides)
    ds = konfig.resolve(cfg).train_ds
    assert ds.case_names == ("case_3",)
    batch = next(iter(ds))
    assert batch["ct"].shape == (2, 2, 2, 2, 1) and batch["ct"].max() == 5
    assert ds.groups["seg"].num_labels == 3 and ds.on_bad_case == "skip"


def test_making_a_dataset_reads_nothing(tmp_path):
    ds = konfig.resolve(_cfg(tmp_path / "nowhere")).train_ds
    with pytest.raises(kd.volumes.VolumeError, match="does not exist"):
        _ = ds.element_spec
