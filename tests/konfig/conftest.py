import pathlib
import sys
import textwrap

import pytest

# `import konfig_targets` in the configs under test.
sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture
def write(tmp_path):
    """Writes a file into a fresh directory; returns its path."""

    def write_file(text, name="config.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return str(path)

    return write_file


EXAMPLE = """
from kauldron import konfig

with konfig.imports():
    import konfig_targets as targets


def get_config():
    cfg = targets.Trainer(num_train_steps=1000)
    cfg.workdir = konfig.placeholder(str)
    cfg.aux = {"width": 64, "name": "big"}
    cfg.model = targets.Net(inputs="batch.image", features=[64, 32])
    cfg.schedules = {"lr": targets.cosine(1e-3, cfg.ref.num_train_steps)}
    cfg.optimizer = targets.adam(learning_rate=cfg.ref.schedules["lr"], b1=0.8)
    cfg.evals = {
        "short": targets.Evaluator(num_batches=1),
        "long": targets.Evaluator(),
    }
    return cfg
"""


@pytest.fixture
def example(write):
    """Path of a config file that resembles a real one."""
    return write(EXAMPLE)
