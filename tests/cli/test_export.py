"""`kauldron export`: from the workdir of a run to a folder that runs without it."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest

from kauldron import kd
from kauldron.cli import export

pytestmark = pytest.mark.usefixtures("quick_compile")

_RUN = pathlib.Path(__file__).parents[1] / "written_before" / "fixture" / "run"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return shutil.copytree(_RUN, tmp_path_factory.mktemp("export") / "run")


@pytest.fixture
def command(call, workdir):
    def command(*args):
        flags = (f"--workdir={workdir}", "--trust=examples", *map(str, args))
        return call(export.main, *flags)

    return command


def test_folder_predicts_what_the_run_does_and_says_how_to_call_it(
    command, workdir, tmp_path
):
    code, out, err = command(f"--out={tmp_path / 'out'}", "--platforms=cpu,cuda")
    assert code == 0, err
    assert "step 6" in out and "input image: float32[b 8 8 1]" in out
    predictor = kd.evals.Predictor.from_workdir(workdir, trusted=["examples"])
    batch = next(iter(predictor.trainer.eval_ds))
    loaded = kd.export.load(tmp_path / "out")
    np.testing.assert_allclose(
        loaded(batch)["logits"], predictor(batch)["logits"], atol=1e-5
    )
    spec = json.loads((tmp_path / "out" / "spec.json").read_text())
    assert spec["inputs"]["image"]["range_in_a_batch"] == [0.0, 1.0]
    assert spec["program"]["platforms"] == ["cpu", "cuda"]
    assert any("in_vrange=(0, 16)" in line for line in spec["preprocessing"])
    code, _, err = command(f"--out={tmp_path / 'out'}")
    assert code == 2 and "is not empty" in err and "--overwrite" in err


def test_onnx_in_int8_tells_difference_and_size(command, tmp_path):
    pytest.importorskip("onnxruntime")
    code, out, err = command(
        f"--out={tmp_path / 'out'}", "--format=onnx", "--quantize=int8"
    )
    assert code == 0, err
    assert "% less than the" in out and "logits on a batch of the run: differs" in out
    assert (tmp_path / "out" / "model.onnx").exists()


def test_data_that_are_gone_do_not_keep_a_model_from_being_exported(command, tmp_path):
    code, out, err = command(
        f"--out={tmp_path / 'out'}",
        "--cfg.eval_ds=None",
        "--cfg.evals={}",
        "--platforms=cpu",
        "--batch_size=3",
    )
    assert code == 0, err
    assert "input image: float32[3 8 8 1]" in out and "on made-up inputs" in out


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--platforms=gpu", "Did you mean 'cuda'?"),
        ("--format=onxx", "Did you mean 'onnx'?"),
        ("--step=5", "no checkpoint of step 5"),
        ("--eval_name=evil", "Did you mean 'eval'?"),
        ("--ema", "holds 0 averages of the parameters"),
        ("--batch_size=0", "at least 1"),
        ("--quantise=int8", "Did you mean '--quantize'?"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(command, tmp_path, flag, words):
    code, _, err = command(f"--out={tmp_path / 'out'}", flag)
    assert code == 2 and words in err, err
    assert list(tmp_path.iterdir()) == []


def test_out_is_needed(command):
    code, _, err = command()
    assert code == 2 and "--out=digits_export" in err
    code, _, err = command("--out=")
    assert code == 2 and "`--out`: no value is given." in err
    code, _, err = command("--out=.")
    assert code == 2 and "'.' cannot be replaced" in err and "name a new folder" in err
