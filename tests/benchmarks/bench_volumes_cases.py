"""Memory and speed of datasets of 3-D cases.

Run with `make bench`. Memory is the largest resident memory of a process of its own, the
pages of mapped files included.
"""

from __future__ import annotations

import collections
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from kauldron import kd
from tests.benchmarks import clocks

pytestmark = pytest.mark.bench

_TRAIN = """
    import resource, sys, tempfile

    import flax.linen as nn, optax
    from kauldron import kd

    class Voxelwise(nn.Module):
        x: kd.kontext.Key = "batch.ct"

        @nn.compact
        def __call__(self, x):
            return {"logits": nn.Dense(2)(x)}

    if __name__ == "__main__":
        ds = kd.volumes.VolumeCases(
            sys.argv[1],
            groups={
                "ct": kd.volumes.Group("ct.npy"),
                "seg": kd.volumes.Group("seg.npy", is_label=True, num_labels=2),
            },
            patches=kd.volumes.RandomPatch(size=(64, 64, 64), foreground_prob=0.5, by="seg"),
            patches_per_case=8,
            batch_size=2,
        )
        loss = kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.logits", labels="batch.seg"
        )
        kd.train.Trainer(
            workdir=tempfile.mkdtemp(),
            train_ds=ds,
            model=Voxelwise(),
            optimizer=optax.sgd(0.1),
            train_losses={"seg": loss},
            num_train_steps=100,
            checkpointer=kd.ckpts.NoopCheckpointer(),
        ).train()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def _write_sparse(folder: pathlib.Path, side: int) -> None:
    """Writes a volume of zeros that takes no disk, and labels."""
    folder.mkdir(parents=True)
    for name, dtype in (("ct", np.float32), ("seg", np.uint8)):
        shape = (side, side, side)
        array = np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape
        )
        array[side // 2, :, side // 3] = 1
        array.flush()


def _peak_of_training(root: pathlib.Path, script: pathlib.Path) -> int:
    command = [sys.executable, script, root]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def test_training_from_4_gib_needs_half_a_gib_more_than_the_model(tmp_path, figures):
    script = tmp_path / "train_on_patches.py"
    script.write_text(textwrap.dedent(_TRAIN))
    _write_sparse(tmp_path / "small/case", 64)
    _write_sparse(tmp_path / "large/case", 1024)
    small = _peak_of_training(tmp_path / "small", script)
    large = _peak_of_training(tmp_path / "large", script)
    figures.number(
        "training from a mapped volume of 4 GiB: peak memory beyond that with one of 1 MiB",
        [(large - small) / 2**30],
        "GiB",
        budget=0.5,
    )


def test_a_patch_from_memory_costs_less_than_twice_its_copy(tmp_path, figures):
    rng = np.random.default_rng(0)
    volumes = {
        "ct": rng.normal(size=(160, 160, 160)).astype(np.float32),
        "seg": rng.integers(0, 3, (160, 160, 160)).astype(np.uint8),
    }
    for name, array in volumes.items():
        (tmp_path / "case").mkdir(exist_ok=True)
        kd.volumes.write(tmp_path / f"case/{name}.npy", kd.volumes.Image(array))
    ds = kd.volumes.VolumeCases(
        tmp_path,
        groups={
            "ct": kd.volumes.Group("ct.npy"),
            "seg": kd.volumes.Group("seg.npy", is_label=True),
        },
        patches=kd.volumes.RandomPatch(size=(64, 64, 64)),
        patches_per_case=100,
        batch_size=2,
        cache="ram",
        num_workers=0,
        seed=0,
    )

    def crop():
        patches = {"ct": [], "seg": []}
        for _ in range(2):
            z, y, x = (slice(a, a + 64) for a in rng.integers(0, 96, 3))
            patches["ct"].append(volumes["ct"][z, y, x])
            patches["seg"].append(volumes["seg"][z, y, x].astype(np.int32))
        return {name: np.stack(arrays) for name, arrays in patches.items()}

    kept = collections.deque(maxlen=2)  # as a training does; their memory is not free

    def batches_of(next_batch):
        return clocks.timed(lambda: kept.extend(next_batch() for _ in range(20)))

    with iter(ds) as batches:
        secs = clocks.in_turn(
            {"crop": batches_of(crop), "pipeline": batches_of(lambda: next(batches))}
        )
    figures.ratio(
        "patches of 64³ from volumes in memory",
        secs["pipeline"],
        secs["crop"],
        against="cutting and stacking them in NumPy",
        budget=2,
    )
