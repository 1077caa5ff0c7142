"""An exported folder runs where there is JAX and safetensors alone, and a newer JAX."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import flax.linen as nn
import jax
import numpy as np
import pytest

from kauldron import kd
from tests.export import models

pytestmark = pytest.mark.smoke

_REST = """
import numpy as np
assert "kauldron" not in sys.modules and "flax" not in sys.modules
batch = dict(np.load("batch.npz"))
np.savez("preds.npz", **model(weights, {"image": batch["image"]}))
print("jax", jax.__version__)
"""


class _Net(nn.Module):
    image: kd.kontext.Key = "batch.image"

    @nn.compact
    def __call__(self, image):
        x = nn.Conv(8, (3, 3))(image)
        x = nn.gelu(nn.BatchNorm(use_running_average=True)(x))
        x = nn.LayerNorm()(x.reshape(*x.shape[:2], -1))
        x = nn.MultiHeadDotProductAttention(num_heads=2)(x, x)
        return {"logits": nn.Dense(3)(x.mean(1))}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder, and what Flax says of a batch."""
    folder = tmp_path_factory.mktemp("export") / "out"
    model, batch = _Net(), models.images(7)
    state = models.state_of(model, batch)
    kd.export.export(model, state, folder, batch=batch)
    return folder, batch, np.asarray(models.apply(model, state, batch)["logits"])


@pytest.mark.parametrize("python", ["this", "python3.12"])
def test_readme_runs_with_jax_and_safetensors_alone(exported, tmp_path, python):
    folder, batch, expected = exported
    interpreter = sys.executable if python == "this" else shutil.which(python)
    if interpreter is None or subprocess.run([interpreter, "--version"]).returncode:
        pytest.skip(f"{python} is not installed")
    # The version that wrote it, and the newest one that there is.
    version = f"jax=={jax.__version__}" if python == "this" else "jax"
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
    subprocess.run([interpreter, "-m", "venv", tmp_path / "env"], check=True, env=env)
    pip = [tmp_path / "env/bin/python", "-m", "pip", "-q", "install"]
    subprocess.run([*pip, version, "flatbuffers", "safetensors"], check=True, env=env)
    copy = pathlib.Path(shutil.copytree(folder, tmp_path / "copy"))
    np.savez(copy / "batch.npz", **batch)
    code = (copy / "README.md").read_text().split("```python\n")[1].split("```")[0]
    (copy / "run.py").write_text(f"import sys\n{code}\n{_REST}")
    result = subprocess.run(
        [tmp_path / "env/bin/python", "run.py"],
        cwd=copy,
        env=env,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "'logits': (2, 3)" in result.stdout
    preds = np.load(copy / "preds.npz")
    np.testing.assert_allclose(preds["logits"], expected, atol=1e-5, rtol=1e-5)
