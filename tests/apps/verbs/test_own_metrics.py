"""Apps whose metrics are somebody's own: who only predicts need not trust them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kauldron import apps, konfig
from kauldron.apps.jobs import _served
from kauldron.workdir import workdirs
from tests.apps.verbs.conftest import TRUSTED

_MESSAGE = "^Measuring the app 'own' runs code of 'tests'.*--trust_code"


def _bundle(cfg, out):
    about = apps.Description(name="own")
    return apps.bundle_trainer(konfig.resolve(cfg), cfg, out, about=about)


@pytest.fixture(scope="module")
def own_digits(digits, tmp_path_factory):
    cfg = workdirs.load_config(digits / "run", trusted=TRUSTED)
    own = "tests.apps.verbs.own_metrics:OwnAccuracy"
    keys = {"logits": "preds.logits", "labels": "batch.label"}
    cfg.train_metrics["own"] = konfig.ConfigDict({"__qualname__": own, **keys})
    folder = tmp_path_factory.mktemp("own") / "app"
    _bundle(cfg, folder)
    return folder


@pytest.fixture(scope="module")
def own_volumes(volumes_run_at, tmp_path_factory):
    root, *_ = volumes_run_at
    cfg = workdirs.load_config(root / "run", trusted=TRUSTED)
    own = "tests.apps.verbs.own_metrics:OwnDice"
    keys = {"logits": "preds.logits", "labels": "batch.seg", "classes": (1,)}
    keys["region_mask"] = "batch.region"
    entry = konfig.ConfigDict({"__qualname__": own, **keys})
    cfg.evals["final"]["metrics"]["own"] = entry
    folder = tmp_path_factory.mktemp("own_volumes") / "app"
    _bundle(cfg, folder)
    return folder


def test_the_manifest_says_that_only_measuring_runs_code(own_digits, own_volumes):
    for path in (own_digits, own_volumes):
        manifest = apps.App(path).inspect()
        assert manifest.trusted == ()
        assert manifest.trusted_to_evaluate == ("tests",)
        told = "to evaluate, it runs code of tests: --trust_code"
        assert told in manifest.describe()
        assert set(_served.read_apps([path])) == {"own"}  # a server takes it


def test_predicting_imports_nothing_of_the_metric(own_digits, digits, tmp_path):
    program = f"""
import sys
from kauldron import apps
app = apps.App({str(own_digits)!r})
app.infer({str(digits / "d0.png")!r}, out={str(tmp_path / "out")!r})
print(sorted(name for name in sys.modules if name.startswith("tests")))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
    assert (tmp_path / "out" / "logits.csv").exists()


def test_a_metric_is_refused_before_anything_is_written(own_digits, digits, tmp_path):
    pairs = digits / "d0.png", digits / "labels.csv"
    with apps.App(own_digits) as app:
        for verb in (app.evaluate, app.pipeline):
            with pytest.raises(apps.AppError, match=_MESSAGE):
                verb(*pairs, out=tmp_path / "out")
        app.pipeline(pairs[0], out=tmp_path / "alone")
    assert not (tmp_path / "out").exists()


def test_a_metric_that_is_trusted_measures(own_digits, digits, tmp_path):
    with apps.App(own_digits, trust_code=True) as app:
        result = app.evaluate(
            digits / "d*.png", digits / "labels.csv", out=tmp_path / "out"
        )
    overall = result.values["overall"]
    assert overall["own"] == overall["accuracy"]


def test_volumes_are_predicted_without_their_metric(
    own_volumes, volumes_run_at, tmp_path
):
    root, *_ = volumes_run_at
    ct, seg = (root / "data" / "case_0" / f"{x}.mha" for x in ("ct", "seg"))
    with apps.App(own_volumes) as app:
        app.infer(ct, out=tmp_path / "plain")
        with pytest.raises(apps.AppError, match=_MESSAGE):
            app.evaluate(ct, seg, out=tmp_path / "refused")
        with pytest.raises(apps.AppError, match=_MESSAGE):
            app.pipeline(ct, masks=seg, out=tmp_path / "refused")
    with apps.App(own_volumes, trust_code=True) as app:
        result = app.pipeline(ct, seg, masks=seg, out=tmp_path / "measured")
    overall = result.values["overall"]
    own = {k.removeprefix("own"): x for k, x in overall.items() if k.startswith("own")}
    assert own == {
        k.removeprefix("dice"): x for k, x in overall.items() if k.startswith("dice")
    }
    assert own
    written = tmp_path / "measured" / "predictions" / "seg" / "ct.mha"
    assert written.read_bytes() == (tmp_path / "plain" / "seg" / "ct.mha").read_bytes()
