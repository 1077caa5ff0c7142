"""`kauldron volumes <verb>`: what the commands print and write."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kauldron.cli import volumes as commands
from kauldron.cli import volumes_evaluate as evaluate
from kauldron.kd import volumes


@pytest.fixture
def file(tmp_path):
    geometry = volumes.Geometry.make((2.0, 0.75, 0.5), (-10.5, 20.25, 300.0))
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volumes.write(tmp_path / "ct.nii.gz", volumes.Image(array, geometry))
    return tmp_path / "ct.nii.gz"


def test_info_is_the_header_as_json_or_as_text(call, file):
    code, out, _ = call(commands.info, str(file), "--json")
    assert code == 0
    assert json.loads(out) == {
        "format": "NIfTI",
        "shape": [2, 3, 4],
        "num_channels": 1,
        "dtype": "int16",
        "spacing_mm": [2.0, 0.75, 0.5],
        "origin_mm": [-10.5, 20.25, 300.0],
        "direction": [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]],
        "notes": [],
    }
    code, out, _ = call(commands.info, str(file))
    assert code == 0
    assert "spacing_mm  (2, 0.75, 0.5)  (z, y, x)\n" in out


def test_convert_keeps_values_and_does_not_replace_a_file_unasked(call, file):
    target = file.with_name("ct.mha")
    code, out, _ = call(commands.convert, str(file), str(target))
    assert code == 0
    assert out.startswith("format      MetaImage\n")
    np.testing.assert_array_equal(volumes.read(target).array, volumes.read(file).array)
    code, _, err = call(commands.convert, str(file), str(target))
    assert code == 2
    assert "There is a file" in err
    assert call(commands.convert, str(file), str(target), "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("command", "args", "message"),
    [
        (commands.info, [], "Say which file"),
        (commands.info, ["nowhere.nii"], "There is no file nowhere.nii"),
        (commands.convert, ["ct.nii.gz"], "Say what and where to"),
        (commands.convert, ["ct.nii.gz", "ct.nrd"], "There is no file ct.nii.gz"),
    ],
)
def test_mistakes(call, command, args, message):
    code, out, err = call(command, *args)
    assert (code, out) == (2, "")
    assert message in err


def test_evaluate_writes_values_and_page_and_tells_a_broken_case(call, file, tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) % 3
    for name in ("preds", "refs"):
        (tmp_path / name).mkdir()
        for case in "xy":
            volumes.write(tmp_path / name / f"{case}.nii.gz", volumes.Image(array))
    args = [f"--preds={tmp_path}/preds", f"--refs={tmp_path}/refs", "--labels=1,2"]
    outs = [f"--out={tmp_path}/metrics.json", f"--report={tmp_path}/report.html"]
    code, out, _ = call(evaluate.main, *args, *outs, "--metrics=dice,hd95,asd")
    assert code == 0
    assert "dice ↑  1         1    0    1       1    1  2" in out
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["aggregates"][0]["mean"] == 1
    assert "data:image" in (tmp_path / "report.html").read_text()
    (tmp_path / "preds" / "x.nii.gz").write_bytes(b"")
    code, out, err = call(evaluate.main, *args, *outs)
    assert code == 1 and "x: " in err and "x.nii.gz" in err
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert {row["case"] for row in written["cases"]} == {"y"}
    assert written["failed"][0]["case"] == "x"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Say --preds"),
        (["--preds=x"], "Say --refs"),
        (["--preds=x", "--refs=y", "--labels=liver"], "are integers"),
        (["--preds=x", "--refs=y"], "There is no folder 'x'"),
    ],
)
def test_evaluate_says_what_is_missing(call, args, message):
    code, _, err = call(evaluate.main, *args)
    assert code == 2 and message in err
