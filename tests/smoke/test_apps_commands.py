"""From a run to a served app, by the commands of the README and of the examples."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import select
import shutil
import subprocess
import sys

import pytest

from kauldron import apps
from tests.smoke.test_examples import ROOT
from tests.smoke.test_volumes_examples import stand_in

pytestmark = pytest.mark.smoke

__all__ = ["stand_in"]  # a fixture

_PICTURE = """
from PIL import Image
from examples import app_digits
picture = Image.fromarray(app_digits.Pictures("test")[0]["image"][..., 0])
picture.resize(({size}, {size})).save("digit.png")
"""


def _environment(folder):
    """Runs are signed, as those of users are; with a key of the test."""
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    env["PYTHONPATH"] = str(ROOT)
    env |= {"KAULDRON_SIGN_RUNS": "1", "XDG_CONFIG_HOME": str(folder / "config")}
    env["PATH"] = f"{pathlib.Path(sys.executable).parent}:{env['PATH']}"
    return env


def _run(folder, command, *more):
    """Runs a line as a shell does, with arguments more; returns what it printed."""
    line = " ".join([command, *more])
    done = subprocess.run(
        line,
        shell=True,
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (line, done.stderr)
    return done.stdout


@contextlib.contextmanager
def _served(folder, command):
    """Yields the address of a server; its port is one that is free."""
    line, num_ports = re.subn(r"--port=\d+", "--port=0", command)
    assert num_ports == 1
    *variables, line = re.split(r"(?<=\S) (?=kauldron)", line)
    environ = dict(x.split("=") for x in variables)
    process = subprocess.Popen(
        f"exec {line}",
        shell=True,
        cwd=folder,
        env={
            **_environment(folder),
            **environ,
            "XDG_CACHE_HOME": str(folder / "cache"),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = None
        while address is None:
            assert select.select([process.stdout], [], [], 120)[0]
            told = process.stdout.readline()
            assert told, "the server has ended"
            address = re.search(r"http://[\d.:]+\d", told)
        yield address[0]
    finally:
        process.terminate()
        process.communicate()


def _lines(text, start="kauldron apps"):
    found = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [line for line in found if start in line and "http://" not in line]


def _make_picture(folder, size):
    code = _PICTURE.format(size=size)
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=folder, env=_environment(folder), check=True)


def test_the_apps_of_the_readme_work_as_written(tmp_path):
    text = (ROOT / "README.md").read_text()
    bundle, infer, serve = _lines(text.partition("## Language models, volumes")[2])
    train = "python -m kauldron.main --cfg=examples/digits_classifier.py"
    assert f"{train} --cfg.workdir=runs/digits" in text  # the run that it is made of
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    _run(tmp_path, train, "--cfg.workdir=runs/digits", "--cfg.num_train_steps=200")
    assert "input image: image" in _run(tmp_path, bundle)
    _make_picture(tmp_path, size=8)
    assert "digit: logits (label 7" in _run(tmp_path, infer)
    with _served(tmp_path, serve) as url:
        with pytest.raises(apps.AppError, match="token"):
            apps.Client(url).apps()
        there = infer.replace("--out=out", f"--out=there --host={url} --token=secret")
        _run(tmp_path, there)
    for name in ("logits.csv", "result.json"):
        here = (tmp_path / "out" / name).read_bytes()
        assert (tmp_path / "there" / name).read_bytes() == here


def test_the_commands_of_the_digits_make_and_serve_an_app(tmp_path):
    text = (ROOT / "examples" / "app_digits.py").read_text()
    train, bundle, infer, serve = _lines(text, start="    kauldron".strip())[:4]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    _run(tmp_path, train, "--cfg.num_train_steps=200")
    _run(tmp_path, bundle)
    _make_picture(tmp_path, size=28)
    assert "digit: logits (label 7" in _run(tmp_path, infer)
    with _served(tmp_path, serve) as url:
        result = (
            apps.Client(url)
            .app("digits_app")
            .infer(tmp_path / "digit.png", out=tmp_path / "there")
        )
    assert result.values == apps.read_result(tmp_path / "out").values


@pytest.mark.slow
def test_the_commands_of_the_brain_make_and_serve_an_app(stand_in, tmp_path):
    text = (ROOT / "examples" / "app_brain.py").read_text()
    fetch, train, bundle, infer, uncertainty, serve = _lines(text, start="kauldron ")[
        :6
    ]
    assert fetch == "kauldron data fetch mni"  # in its place there is a small brain
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    small = {"aux.folder": stand_in, "aux.patch_size": 16, "aux.batch_size": 8}
    small |= {"model.features": "'(4,4,8)'", "num_train_steps": 2}
    _run(tmp_path, train, *(f"--cfg.{name}={value}" for name, value in small.items()))
    told = _run(tmp_path, bundle)
    assert "segmentation: fluid, grey, white" in told
    shutil.copy(stand_in / "slabs" / "test_front" / "t1.nii.gz", tmp_path)
    _run(tmp_path, infer)
    _run(tmp_path, uncertainty)
    with _served(tmp_path, serve) as url:
        app = apps.Client(url).app("brain_app")
        result = app.infer(tmp_path / "t1.nii.gz", tta=1, out=tmp_path / "there")
    here = apps.read_result(tmp_path / "out")
    assert [file.path for file in result.files] == [file.path for file in here.files]
    for a, b in zip(result.files, here.files, strict=True):
        assert result.path(a).read_bytes() == here.path(b).read_bytes()
    doubt = apps.read_result(tmp_path / "doubt").values["cases"]["t1"]
    assert any("entropy" in name for name in doubt)
