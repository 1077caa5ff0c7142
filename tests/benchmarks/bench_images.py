"""Decoding, cropping and resizing of photos, against torch with torchvision.

KAULDRON_TORCH_PYTHON=/path/to/python make bench

The peer runs in an environment of its own, which has torch and torchvision. Both have two
workers on the same cores, read the same JPEG files of 512 x 512 pixels, and make batches of
64 by the same transforms: a random part resized to 224 x 224, a flip, normalised floats. They
take turns; what counts on a shared machine is the processor time of all processes.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

from kauldron import kd
from tests.benchmarks import clocks

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

_NUM_FILES, _BATCH_SIZE, _NUM_WORKERS = 256, 64, 2
_NUM_ROUNDS, _NUM_BATCHES = 7, 8
# Made while the others had their turn: not measured.
_NUM_AHEAD = 10
_MIN_RATIO = 1.2
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# As the tutorials have it, and faster.
_PEERS = {"pillow": "Pillow", "tensor": "torchvision's own decoder"}
_PEER = f"""
import sys
{inspect.getsource(clocks)}
import torch
from torchvision import datasets, io, transforms
from torchvision.transforms import v2

folder, kind = sys.argv[1:]

def read(path):
    return io.decode_image(io.read_file(path), mode="RGB")

if __name__ == "__main__":
    steps = [v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip()]
    if kind == "pillow":
        steps.append(v2.ToImage())
    steps += [
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize({_MEAN}, {_STD}),
    ]
    loader = datasets.folder.default_loader if kind == "pillow" else read
    data = datasets.ImageFolder(folder, v2.Compose(steps), loader=loader)
    batches = torch.utils.data.DataLoader(
        data, {_BATCH_SIZE}, shuffle=True, num_workers={_NUM_WORKERS},
        drop_last=True, persistent_workers=True,
    )

    def endless():
        while True:
            yield from batches

    found = endless()
    shape = tuple(next(found)[0].shape)
    assert shape == ({_BATCH_SIZE}, 3, 224, 224), shape
    print("ready", flush=True)
    for line in sys.stdin:
        for _ in range({_NUM_AHEAD}):
            next(found)
        start, used = time.perf_counter(), of_tree()
        for _ in range(int(line)):
            next(found)
        print(time.perf_counter() - start, of_tree() - used, flush=True)
"""


def _write_photos(folder):
    """Writes smooth pictures with noise, about 100 kB each."""
    for i in range(_NUM_FILES):
        rng = np.random.default_rng(i)
        small = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        smooth = Image.fromarray(small).resize((512, 512), Image.Resampling.BICUBIC)
        noisy = np.asarray(smooth) + rng.normal(0, 12, (512, 512, 3))
        of_class = folder / str(i % 4)
        of_class.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        picture.save(of_class / f"{i}.jpg", quality=90)


def _ours(folder):
    pipeline = kd.data.py.ImageFolder(
        folder,
        shuffle=True,
        batch_size=_BATCH_SIZE,
        seed=0,
        num_workers=_NUM_WORKERS,
        per_worker_buffer_size=2,  # as many batches ahead as torch has
        transforms=[
            kd.data.RandomResizedCrop(key="image", size=224),
            kd.data.RandomFlipLeftRight(key="image"),
            kd.data.Normalize(
                key="image",
                mean=[255 * x for x in _MEAN],
                std=[255 * x for x in _STD],
            ),
        ],
    )
    batches = iter(pipeline)
    assert next(batches)["image"].shape == (_BATCH_SIZE, 224, 224, 3)

    def run(num_batches):
        for _ in range(_NUM_AHEAD):
            next(batches)
        start, used = time.perf_counter(), clocks.of_tree()
        for _ in range(num_batches):
            next(batches)
        return clocks.Secs(time.perf_counter() - start, clocks.of_tree() - used)

    return run, batches.close


def _peer(python, folder, kind):
    process = subprocess.Popen(
        [python, "-c", _PEER, folder, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert process.stdin is not None and process.stdout is not None
    sent, received = process.stdin, process.stdout
    assert received.readline().strip() == "ready"

    def run(num_batches):
        print(num_batches, file=sent, flush=True)
        return clocks.Secs(*map(float, received.readline().split()))

    def close():
        sent.close()
        process.wait(60)

    return run, close


def test_photos_come_faster_than_from_torch(tmp_path, figures):
    python = os.environ.get("KAULDRON_TORCH_PYTHON")
    if not python:
        pytest.skip("KAULDRON_TORCH_PYTHON names no Python with torchvision")
    _write_photos(tmp_path)
    all_of_them = {"ours": _ours(tmp_path)}
    all_of_them |= {kind: _peer(python, str(tmp_path), kind) for kind in _PEERS}
    runs = {name: run for name, (run, _) in all_of_them.items()}
    try:
        rounds = clocks.in_turn(
            {name: lambda run=run: run(_NUM_BATCHES) for name, run in runs.items()},
            num_rounds=_NUM_ROUNDS,
        )
    finally:
        for _, close in all_of_them.values():
            close()
    num_images = _NUM_BATCHES * _BATCH_SIZE
    for kind, decoder in _PEERS.items():
        of_one = [secs.per(num_images) for secs in rounds[kind]]
        ms = 1e3 * clocks.medians(of_one).wall
        figures.ratio(
            "photos of 512 x 512 decoded, cut, resized to 224 x 224, flipped; two workers; "
            f"against torch's DataLoader with {decoder}: speed",
            rounds[kind],
            rounds["ours"],
            against=f"its speed ({ms:.2g} ms a photo)",
            budget=_MIN_RATIO,
            is_more_better=True,
        )
