"""Two tiny runs, and the apps that are made of them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from kauldron import apps, konfig
from kauldron.workdir import signatures
from tests.apps.verbs import digit_run, volume_run

TRUSTED = ("examples", "tests")


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_own():
    """Runs of tests are those of somebody else: nothing is trusted for a signature."""
    before = os.environ.get(signatures.ENV_VAR)
    os.environ[signatures.ENV_VAR] = "0"
    yield
    if before is None:
        del os.environ[signatures.ENV_VAR]
    else:
        os.environ[signatures.ENV_VAR] = before


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A run with checkpoints of steps 1 and 2, and five images of digits."""
    root = tmp_path_factory.mktemp("digits")
    trainer = konfig.resolve(digit_run.get_config(root / "run"))
    trainer.train()
    for i, image in enumerate(digit_run.images()[:5]):
        Image.fromarray(image[..., 0]).save(root / f"d{i}.png")
    rows = [f"d{i},{label}" for i, label in enumerate(digit_run.labels()[:5])]
    (root / "labels.csv").write_text("\n".join(["case,label", *rows]))
    return root


@pytest.fixture(scope="session")
def digits_app(digits):
    apps.bundle(
        digits / "run",
        digits / "app",
        members=[1],
        about=apps.Description(name="digits", description="Reads digits.", max_mc=16),
        trusted=TRUSTED,
    )
    return digits / "app"


@pytest.fixture(scope="session")
def app(digits_app):
    with apps.App(digits_app) as app:
        yield app


@pytest.fixture
def logits(digits):
    """The logits that the model of the run has for the five images, by member."""
    from kauldron import kd

    def logits(step):
        predictor = kd.evals.Predictor.from_workdir(
            digits / "run", step=step, trusted=TRUSTED
        )
        ds = predictor.open([str(digits / f"d{i}.png") for i in range(5)])
        return np.asarray(predictor.predict(ds, keys=["preds.logits"])["preds.logits"])

    return logits


@pytest.fixture(scope="session")
def volumes_run_at(tmp_path_factory):
    """A run on small volumes: folder, trainer, state of step 2."""
    from kauldron import runs
    from tests.volumes.prediction import volumes_run

    root = tmp_path_factory.mktemp("volumes")
    volumes_run.write_cases(root / "data", num=2)
    trainer = konfig.resolve(volume_run.get_config(root / "data", root / "run"))
    trainer.train()
    return root, trainer, runs.restore_state(trainer, 2)


@pytest.fixture(scope="session")
def volume_app(volumes_run_at):
    root, *_ = volumes_run_at
    apps.bundle(
        root / "run",
        root / "app.zip",
        members=[1],
        about=apps.Description(
            name="halves", labels={1: "above"}, colours={1: "#aa3333"}, max_mc=4
        ),
        trusted=TRUSTED,
    )
    with apps.App(root / "app.zip") as app:
        yield app
