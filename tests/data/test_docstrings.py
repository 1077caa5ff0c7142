"""The examples in docstrings of the data room run."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import pathlib
import re
import textwrap

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kauldron import kd
from kauldron.data import _fetch_table

_ROOM = pathlib.Path(kd.data.__file__).parent


def _examples():
    for path in sorted(_ROOM.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                text = textwrap.dedent(ast.get_docstring(node) or "")
                for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
                    yield pytest.param(block, id=node.name)


@pytest.fixture
def names(monkeypatch, tmp_path):
    """What the examples take for granted."""
    folder = tmp_path / "mnist_5k"
    folder.mkdir()
    np.savez(folder / "mnist_5k.npz", image=np.zeros((64, 28, 28, 1), np.uint8))
    assert "mnist_5k" in _fetch_table.FETCHABLE
    monkeypatch.setenv("KAULDRON_DATA", str(tmp_path))
    source = [{"x": i} for i in range(2000)]
    ds = kd.data.py.DataSource(source, shuffle=True, batch_size=4, seed=0)
    return {
        "kd": kd,
        "dataclasses": dataclasses,
        "source": source,
        "ds": ds,
        "photos": ds,
        "drawings": ds,
        "augment": lambda batch: batch,
    }


@pytest.mark.parametrize("example", list(_examples()))
def test_example_runs(example, names):
    before = set(names)
    mock = tfds.testing.mock_data(num_examples=64)
    with mock if "Tfds" in example else contextlib.nullcontext():
        exec(compile(example, "docstring", "exec", dont_inherit=True), names)
        made = [names[name] for name in set(names) - before]
        for ds in made:
            if isinstance(ds, kd.data.IterableDataset):
                next(iter(ds))
