"""Every config of `configs/` trains a few steps, on stand-ins for its data."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from tests.smoke import test_examples

pytestmark = pytest.mark.smoke

CONFIGS = sorted(p.name for p in (test_examples.ROOT / "configs").glob("*.py"))


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """A data folder that needs no download: 300 images of noise."""
    folder = tmp_path / "data" / "fashion_mnist"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        image = rng.integers(0, 256, (300, 28, 28, 1), dtype=np.uint8)
        np.savez(folder / f"{split}.npz", image=image, label=rng.integers(0, 10, 300))
    monkeypatch.setenv("KAULDRON_DATA", str(tmp_path / "data"))


@pytest.mark.parametrize("name", CONFIGS)
def test_config_trains_and_is_evaluated(name, tmp_path, stand_ins):
    has_warmup = "warmup_steps" in (test_examples.ROOT / "configs" / name).read_text()
    shorter_warmup = "--cfg.schedules.*.warmup_steps=2"
    result = test_examples.run(
        [
            *(sys.executable, "-m", "kauldron.main", f"--cfg=configs/{name}"),
            *(f"--cfg.workdir={tmp_path}/run", "--cfg.num_train_steps=4"),
            "--cfg.evals.eval.run.n=4",
            *([shorter_warmup] if has_warmup else []),
        ]
    )
    assert result.returncode == 0, result.stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    evaluated = [r["step"] for r in records if r["collection"] == "eval"]
    assert evaluated == [0, 4]
