"""`kauldron volumes <verb>`: what the commands print and write."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kauldron.cli import volumes as commands
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
