"""`ArrayPredictor` alone, with a model of NumPy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kauldron import apps, kd
from kauldron.apps.bundles.ports import Port
from kauldron.apps.verbs import _array_predictor
from kauldron.evals import file_prediction
from tests.apps.bundles import made


@dataclasses.dataclass(frozen=True, kw_only=True)
class _NotDark(kd.data.FilterTransform):
    def filter(self, element):
        return bool(element["x"].mean() > 10)


def _scores(state, draw, batch):
    del state, draw
    mean = batch["x"].mean((1, 2))
    return {"is_bright": np.stack([np.full_like(mean, 25), mean], -1)}


def _predictor():
    ports = {
        "inputs": (Port(name="x", kind="array"),),
        "references": (),
        "outputs": (Port(name="is_bright", kind="table"),),
    }
    return _array_predictor.ArrayPredictor(
        manifest=made.manifest(**ports),
        transforms=[_NotDark()],
        batch_size=2,
        num_channels={},
        forward=_scores,
        make_metrics=dict,
    )


def _request(folder, brightness):
    cases = {}
    for case, value in brightness.items():
        np.save(folder / f"{case}.npy", np.full((2, 2), value, np.float32))
        cases[case] = {"x": str(folder / f"{case}.npy")}
    return file_prediction.FileRequest(cases=cases, predictions=folder)


@pytest.mark.parametrize(
    ("brightness", "left_out"),
    [
        ({"night": 3}, "'night'"),
        ({"a": 20, "night": 3, "b": 30, "c": 40, "cave": 5}, "'night' and 'cave'"),
    ],
)
def test_cases_that_transforms_leave_out_are_told(tmp_path, brightness, left_out):
    request = _request(tmp_path, brightness)
    with pytest.raises(apps.AppError, match=f"leave out {left_out}: .* Ask without"):
        list(_predictor().predict_files([None], request))


def test_cases_that_are_kept_are_predicted(tmp_path):
    request = _request(tmp_path, {"a": 20, "b": 30, "c": 40})
    *found, _ = _predictor().predict_files([None], request)
    labels = {x.case: x.values["is_bright"]["label"] for x in found}
    assert labels == {"a": "0", "b": "1", "c": "1"}
