"""Rooms import downwards only: the check itself is checked with planted imports."""

from __future__ import annotations

import importlib
import pathlib
import pkgutil
import re
import shutil
import subprocess
import sys

import pytest

import kauldron
from tests import draw_layers

ROOT = pathlib.Path(__file__).parents[1]

# Names that users find in one room though they live in one above it. They are texts in
# the lazy table of the room; no code may use them through it.
OFFERED_FROM_ABOVE = {
    "kauldron.evals": {"PredictError", "Predictor", "evaluate_checkpoint"},
    "kauldron.train": {"reproduction"},
}


def _lint(folder: pathlib.Path) -> subprocess.CompletedProcess:
    lint_imports = pathlib.Path(sys.executable).with_name("lint-imports")
    if not lint_imports.exists():
        pytest.fail("import-linter is missing: pip install -e '.[dev]'")
    return subprocess.run(
        [lint_imports, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def tree(tmp_path):
    shutil.copytree(
        ROOT / "kauldron",
        tmp_path / "kauldron",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_package_keeps_its_layers(tree):
    result = _lint(tree)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("file", "planted"),
    [
        ("kauldron/metrics/base.py", "from kauldron import evals\n"),
        ("kauldron/kontext/__init__.py", "from kauldron import konfig\n"),
        (
            "kauldron/data/utils.py",
            "def f():\n    from kauldron.train import trainer_lib\n",
        ),
        ("kauldron/losses/base.py", "import kauldron.summaries\n"),
        ("kauldron/sharding/_mesh.py", "from kauldron import kd\n"),
        (
            "kauldron/konfig/tree/_nodes.py",
            "def f():\n    from kauldron.konfig.flags import _setter\n",
        ),
    ],
)
def test_a_planted_upward_import_is_found(tree, file, planted):
    path = tree / file
    path.write_text(f"{path.read_text()}\n{planted}")
    result = _lint(tree)
    assert result.returncode == 1
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert f"{module} ->" in result.stdout


def test_a_room_without_a_layer_is_found(tree):
    (tree / "kauldron" / "attic").mkdir()
    (tree / "kauldron" / "attic" / "__init__.py").write_text("")
    result = _lint(tree)
    assert result.returncode == 1 and "attic" in result.stdout


def test_lazy_tables_offer_what_lives_below_but_for_the_names_that_are_listed():
    layers = enumerate(reversed(draw_layers.layers()))
    heights = {room: height for height, row in layers for room in row}
    found = {}
    for info in pkgutil.iter_modules(kauldron.__path__, "kauldron."):
        room = importlib.import_module(info.name)
        table = getattr(room.__dict__.get("__getattr__"), "targets", {})
        for name, target in table.items():
            home = ".".join(target.partition(":")[0].split(".")[:2])
            if heights[home] > heights[info.name]:
                found.setdefault(info.name, set()).add(name)
    assert found == OFFERED_FROM_ABOVE


def test_no_code_uses_a_name_through_a_room_below_its_home():
    for room, names in OFFERED_FROM_ABOVE.items():
        short = room.rpartition(".")[2]
        use = re.compile(
            rf"(?<![.\w]){short}\.({'|'.join(names)})\b|"
            rf"from {re.escape(room)} import .*\b({'|'.join(names)})\b"
        )
        for path in (ROOT / "kauldron").rglob("*.py"):
            assert not use.search(path.read_text()), f"{path} uses {room}"
