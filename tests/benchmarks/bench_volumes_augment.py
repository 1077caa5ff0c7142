"""Random patches of volumes: rotation, scaling, flips and noise, against MONAI.

make bench

MONAI runs in an environment of its own, as nothing of torch is installed here:
`KAULDRON_TORCH_PYTHON` names its Python. Both pipelines have two workers, hold the same
volumes in memory, and take turns on the same cores.
"""

from __future__ import annotations

import itertools
import os
import subprocess

import numpy as np
import pytest

from kauldron import kd
from tests.benchmarks import clocks

pytestmark = pytest.mark.bench

A = kd.volumes.augment

SIDE, NUM_CASES, NUM_WORKERS, BATCH_SIZE = 128, 4, 2, 2
# What workers have prepared while the other had its turn does not count.
NUM_ROUNDS, NUM_SKIPPED, NUM_BATCHES = 7, 30, 60

# Prints the seconds of a turn each time a line is written to it.
_MONAI = f"""
import pathlib, sys, time
import numpy as np, torch
from monai import transforms as T
from monai.data import DataLoader, Dataset

keys = sys.argv[2].split(",")
modes = ["bilinear", "nearest"][:len(keys)]
side = (64, 64, 64)
steps = [
    T.RandSpatialCropd(keys, side, random_size=False),
    T.RandAffined(keys, prob=1.0, rotate_range=[0.3] * 3, scale_range=[0.2] * 3,
                  mode=modes, padding_mode="zeros"),
    *[T.RandFlipd(keys, 0.5, axis) for axis in range(3)],
    T.RandGaussianNoised(["ct"], prob=1.0, std=0.1),
]
cases = sorted(pathlib.Path(sys.argv[1]).iterdir())
volumes = [
    {{key: torch.tensor(np.load(case / f"{{key}}.npy"))[None] for key in keys}}
    for case in cases
]
dataset = Dataset(volumes * 100_000, T.Compose(steps))
loader = DataLoader(
    dataset, batch_size={BATCH_SIZE}, shuffle=True, num_workers={NUM_WORKERS}
)
batches = iter(loader)
for _ in sys.stdin:
    for _ in range({NUM_SKIPPED}):
        next(batches)
    start = time.perf_counter()
    for _ in range({NUM_BATCHES}):
        next(batches)
    print(time.perf_counter() - start, flush=True)
"""


def _write_cases(folder):
    rng = np.random.default_rng(0)
    for number in range(NUM_CASES):
        case = folder / f"case_{number}"
        case.mkdir()
        ct = rng.normal(size=(SIDE,) * 3).astype(np.float32)
        np.save(case / "ct.npy", ct)
        np.save(case / "seg.npy", (ct > 0).astype(np.int32))


def _ours(folder, with_labels):
    groups = {"ct": kd.volumes.Group("ct.npy")}
    if with_labels:
        groups["seg"] = kd.volumes.Group("seg.npy", is_label=True)
    augment = A.Augment(
        [
            A.Rotate(degrees=17.0),
            A.Scale(factor=(0.8, 1.2), is_isotropic=False),
            A.Flip(),
            A.Noise(std=(0.0, 0.1)),
        ]
    )
    return kd.volumes.VolumeCases(
        folder,
        groups=groups,
        patches=kd.volumes.RandomPatch(size=(64, 64, 64)),
        patches_per_case=4,
        augment=augment,
        cache="ram",
        batch_size=BATCH_SIZE,
        num_workers=NUM_WORKERS,
        seed=0,
    )


class _Processors:
    """What a process with living workers has used of all processors."""

    def __init__(self, process):
        self._process = process

    def measured(self, wall_of_a_turn):
        """Returns the seconds of a turn; those skipped count for the processors."""
        before = clocks.of_tree(self._process)
        wall = wall_of_a_turn()
        return clocks.Secs(wall, clocks.of_tree(self._process) - before)


def _wall_of_a_turn(batches):
    for _ in itertools.islice(batches, NUM_SKIPPED):
        pass
    start = clocks.now()
    for _ in itertools.islice(batches, NUM_BATCHES):
        pass
    return clocks.since(start).wall


@pytest.mark.skipif(
    "KAULDRON_TORCH_PYTHON" not in os.environ, reason="no Python with MONAI"
)
@pytest.mark.parametrize("with_labels", [False, True], ids=["image", "image and label"])
def test_augmented_patches_per_second_are_twice_those_of_monai(
    tmp_path, figures, with_labels
):
    _write_cases(tmp_path)
    keys = "ct,seg" if with_labels else "ct"
    other = subprocess.Popen(
        [os.environ["KAULDRON_TORCH_PYTHON"], "-c", _MONAI, str(tmp_path), keys],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None

    def theirs():
        print(file=other.stdin, flush=True)
        return float(other.stdout.readline())

    used, used_by_other = _Processors(os.getpid()), _Processors(other.pid)
    with other, iter(_ours(tmp_path, with_labels)) as batches:
        secs = clocks.in_turn(
            {
                "ours": lambda: used.measured(lambda: _wall_of_a_turn(batches)),
                "theirs": lambda: used_by_other.measured(theirs),
            },
            num_rounds=NUM_ROUNDS,
        )
        other.terminate()
    figures.ratio(
        f"augmented patches of 64³ a second, two workers, {keys.replace(',', ' and ')}",
        secs["theirs"],  # seconds of the same number of patches
        secs["ours"],
        against="MONAI's loader",
        budget=2,
        is_more_better=True,
    )
