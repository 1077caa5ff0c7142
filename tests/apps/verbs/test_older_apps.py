"""Apps that were made by earlier versions are read and predict, for good."""

from __future__ import annotations

import csv
import pathlib

import numpy as np
import pytest
from PIL import Image

from examples import digits_data
from kauldron import apps

# Made of `tests/written_before/fixture/run` by `kauldron apps bundle --out=digits.zip
# --labels=0=zero,1=one`; `<name>.csv` is what it said of the first three digits to be
# tested. Neither is written again.
_FIXTURES = pathlib.Path(__file__).parent / "fixtures"


@pytest.mark.parametrize("name", ["version_1"])
def test_an_app_of_an_earlier_version_predicts_what_it_did(name, tmp_path):
    digits = digits_data.Digits(split="test")
    for i in range(3):
        pixels = digits[i]["image"][..., 0]
        Image.fromarray(pixels).save(tmp_path / f"digit_{i}.png")
    with apps.App(_FIXTURES / f"{name}.zip") as app:
        assert app.inspect().outputs[0].labels[1].name == "one"
        app.infer(tmp_path / "digit_*.png", out=tmp_path / "out", mc=0)
    with (_FIXTURES / f"{name}.csv").open() as f:
        expected = list(csv.DictReader(f))
    with (tmp_path / "out" / "logits.csv").open() as f:
        got = list(csv.DictReader(f))
    assert [row["case"] for row in got] == [row["case"] for row in expected]
    for a, b in zip(got, expected, strict=True):
        assert a["label"] == b["label"]
        for column in map(str, range(2, 10)):
            # Processors differ in the last bits.
            np.testing.assert_allclose(float(a[column]), float(b[column]), rtol=1e-4)
