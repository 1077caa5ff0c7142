"""What apps cost: a first answer in a new process, in one run with what it is against.

make bench
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from examples import app_digits
from kauldron import apps, konfig
from tests.benchmarks import clocks

pytestmark = pytest.mark.bench

_ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder with a run, its app, and a picture."""
    folder = tmp_path_factory.mktemp("digits")
    cfg = app_digits.get_config()
    cfg.workdir = str(folder / "run")
    cfg.num_train_steps = 20
    konfig.resolve(cfg).train()
    apps.bundle(folder / "run", folder / "app", trusted=["examples"])
    pixels = np.full((28, 28), 128, np.uint8)
    Image.fromarray(pixels).save(folder / "digit.png")
    return folder


def _run(*args):
    env = {**os.environ, "PYTHONPATH": str(_ROOT), "JAX_PLATFORMS": "cpu"}
    env.pop("XLA_FLAGS", None)
    command = [sys.executable, "-m", "kauldron.cli.main", *args]
    subprocess.run(command, env=env, check=True, capture_output=True)


def test_a_new_process_answers_sooner_than_the_model_of_the_run(digits, figures):
    """`apps infer` runs the exported program, `predict` the same model from Python."""

    def of_the_app():
        shutil.rmtree(digits / "out", ignore_errors=True)
        picture = f"--input={digits}/digit.png"
        _run("apps", "infer", f"{digits}/app", picture, f"--out={digits}/out")

    def of_the_run():
        out = ["--trust=examples", f"--out={digits}/preds.npz"]
        inputs = f"--inputs={digits}/digit.png"
        _run("predict", f"--workdir={digits}/run", inputs, *out)

    secs = clocks.in_turn(
        {"app": clocks.timed(of_the_app), "run": clocks.timed(of_the_run)}
    )
    predict = clocks.medians(secs["run"]).wall
    figures.ratio(
        "a first answer of a new process, by its app",
        secs["app"],
        secs["run"],
        against=f"`predict` of the run, compiled before ({predict:.2g} s)",
        budget=0.7,
    )
