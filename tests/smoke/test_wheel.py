"""The console script, from a built wheel, in an environment of its own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import sysconfig
import venv

import pytest

pytestmark = pytest.mark.smoke

ROOT = pathlib.Path(__file__).parents[2]

_NEIGHBOUR = """
import numpy as np

class Numbers:
    def __len__(self):
        return 64

    def __getitem__(self, index):
        return {"x": np.float32([index / 64, 1.0])}
"""

_CONFIG = """
from kauldron import konfig

with konfig.imports():
    import optax
    import my_numbers
    from flax import linen as nn
    from kauldron import kd


def get_config():
    return kd.train.Trainer(
        train_ds=kd.data.py.DataSource(my_numbers.Numbers(), shuffle=True, batch_size=8),
        model=kd.nn.Sequential(inputs="batch.x", outputs="x", layers=[nn.Dense(2)]),
        num_train_steps=3,
        train_losses={"l2": kd.losses.L2(preds="preds.x", targets="batch.x")},
        optimizer=optax.sgd(0.1),
    )
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Scripts folder of an environment with the wheel, and the same dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT],
        check=True,
    )
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    [site] = (folder / "env").glob("lib/python*/site-packages")
    # The dependencies are those of this environment. Its editable install of the
    # project does not come along: `.pth` files count in an environment's own folder only.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    subprocess.run(
        [*pip, f"--python={folder}/env/bin/python", "install", "--no-deps", wheel],
        check=True,
    )
    return folder / "env" / "bin"


@pytest.fixture
def project(tmp_path):
    """A folder with a config and the module that it imports."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "my_numbers.py").write_text(_NEIGHBOUR)
    (tmp_path / "configs" / "my_config.py").write_text(_CONFIG)
    return tmp_path


def _run(command, cwd):
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def test_the_wheel_holds_the_package_and_nothing_else(environment):
    result = _run(
        [environment / "python", "-c", "import kauldron; print(kauldron.__file__)"],
        environment,
    )
    assert str(environment.parent) in result.stdout
    site = pathlib.Path(result.stdout.strip()).parents[1]
    assert not (site / "tests").exists()
    assert not (site / "examples").exists()


@pytest.mark.parametrize("how", ["console script", "module"])
@pytest.mark.parametrize("where", ["beside", "above"])
def test_a_config_that_imports_its_neighbours_trains(environment, project, how, where):
    if how == "console script":
        command = [environment / "kauldron", "train"]
    else:
        command = [environment / "python", "-m", "kauldron.main"]
    cwd = project / "configs" if where == "beside" else project
    config = "my_config.py" if where == "beside" else "configs/my_config.py"
    result = _run([*command, f"--cfg={config}", "--cfg.workdir=run"], cwd)
    assert result.returncode == 0, result.stderr
    assert "Finished: run is at step 3" in result.stderr


def test_exit_code_of_the_console_script_tells_a_mistake(environment, project):
    result = _run([environment / "kauldron", "train"], project)
    assert result.returncode == 2
    assert "--cfg=" in result.stderr
