"""The notebooks and the page on looking at runs run from top to bottom."""

from __future__ import annotations

import os
import pathlib
import shutil

import nbclient
import nbformat
import pytest

from tests import docs_snippets

_ROOT = pathlib.Path(__file__).parents[2]
_NOTEBOOKS = sorted((_ROOT / "docs/notebooks").glob("*.ipynb"))


def test_there_are_two():
    assert [p.stem for p in _NOTEBOOKS] == ["debug_a_broken_config", "first_experiment"]


@pytest.mark.smoke
@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs_and_is_kept_without_outputs(path, tmp_path, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    shutil.copytree(_ROOT / "examples", tmp_path / "examples")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(_ROOT)]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    shown = [output for cell in code for output in cell.outputs]
    assert sum("text/html" in output.get("data", {}) for output in shown) >= 2
    if out := os.environ.get("KAULDRON_KEEP_NOTEBOOKS"):
        nbformat.write(notebook, pathlib.Path(out) / path.name)


@pytest.mark.smoke
def test_page_on_looking_at_a_run(tmp_path):
    assert docs_snippets.run_page("inspect.md", tmp_path) == 12
