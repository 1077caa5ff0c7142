"""pyright accepts our annotations with no rule switched off."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

_SAMPLE = pathlib.Path(__file__).parent / "pyright_sample.py"


@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is not installed")
def test_annotations_are_clean_and_mistakes_are_found(tmp_path):
    root = _SAMPLE.parents[2]
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps({"extraPaths": [str(root)], "typeCheckingMode": "standard"})
    )
    shutil.copy(_SAMPLE, tmp_path)
    result = subprocess.run(
        ["pyright", "--outputjson", "--pythonpath", sys.executable, _SAMPLE.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {
        diagnostic["range"]["start"]["line"] + 1: diagnostic["message"]
        for diagnostic in json.loads(result.stdout)["generalDiagnostics"]
        if diagnostic["severity"] == "error"
    }
    lines = _SAMPLE.read_text("utf-8").splitlines()
    expected = [i for i, line in enumerate(lines, 1) if line.endswith("# error")]
    assert sorted(found) == expected, found
