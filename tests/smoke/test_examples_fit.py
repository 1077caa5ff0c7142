"""Every example is in the table of the documentation, and its config can be built."""

from __future__ import annotations

import re

import pytest

from kauldron import konfig
from tests import docs_snippets
from tests.smoke import test_examples

_CONFIGS = sorted(
    p.name
    for p in (test_examples.ROOT / "examples").glob("*.py")
    if "def get_config" in p.read_text()
)
_RECIPES = sorted(p.name for p in (test_examples.ROOT / "configs").glob("*.py"))
# They read another run when they are built.
_OF_OTHER_RUNS = ("digits_eval_only.py", "digits_readout.py")


def test_the_table_names_all_examples_and_recipes():
    text = (docs_snippets.DOCS / "examples.md").read_text()
    named = re.findall(r"`(\w+\.py)`", text)
    without_config = {"digits_gan_model.py", "volumes_head_ct.py"}
    assert set(named) - without_config == {*_CONFIGS, *_RECIPES}


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in _CONFIGS
        if name not in (*_OF_OTHER_RUNS, "mnist_autoencoder.py")
    ],
)
def test_the_config_of_an_example_can_be_built(name, tmp_path):
    cfg = konfig.load_config_file(test_examples.ROOT / "examples" / name)
    cfg.workdir = str(tmp_path)
    assert konfig.resolve(cfg).evals


@pytest.mark.parametrize("name", _CONFIGS)
def test_an_example_is_short(name):
    path = test_examples.ROOT / "examples" / name
    assert len(path.read_text().splitlines()) <= 150
