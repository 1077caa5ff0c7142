"""Apps of runs on tables: rows in, a table of answers out."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest

from kauldron import apps, kd, konfig
from kauldron.workdir import workdirs
from tests.apps.verbs import table_run
from tests.apps.verbs.conftest import TRUSTED

_NEW = table_run.rows()[40:]  # more than a batch


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two runs, their apps, and a table without labels."""
    root = tmp_path_factory.mktemp("table")
    table_run.write(root / "houses.csv", table_run.rows())
    for name in ("price", "large"):
        konfig.resolve(table_run.get_config(root, predicts=name)).train()
        apps.bundle(root / name, root / f"{name}_app", trusted=TRUSTED)
    table_run.write(root / "new.csv", _NEW, table_run.COLUMNS)
    table_run.write(root / "labelled.csv", _NEW)
    return root


@pytest.fixture(scope="module")
def app(root):
    with apps.App(root / "price_app") as app:
        yield app


def _table(path):
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def _predicted(root, name, key):
    """What the model of the run says of the new rows."""
    predictor = kd.evals.Predictor.from_workdir(root / name, trusted=TRUSTED)
    x = np.array([[row[c] for c in table_run.COLUMNS] for row in _NEW], np.float32)
    x = (x - np.float32([4, 80])) / np.float32([2, 40])
    return np.asarray(predictor({"x": x})[key])


def test_the_manifest_names_the_columns(app):
    manifest = app.inspect()
    assert [(p.name, p.kind) for p in manifest.inputs] == [("rows", "table")]
    assert [(p.name, p.kind) for p in manifest.outputs] == [("y", "table")]
    assert "input rows: table, columns rooms, area\n" in manifest.describe()
    assert manifest.trusted == ()


def test_numbers_are_those_of_the_model(app, root, tmp_path):
    result = app.infer(root / "new.csv", out=tmp_path / "out")
    assert [file.path for file in result.files] == ["y.csv"]
    found = _table(tmp_path / "out" / "y.csv")
    assert [row["case"] for row in found] == [f"row_{i + 1}" for i in range(len(_NEW))]
    got = [float(row["value"]) for row in found]
    expected = _predicted(root, "price", "y")[:, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)  # 7 digits
    assert result.values["cases"]["row_3"]["y"]["value"] == pytest.approx(got[2])


def test_the_command_predict_says_the_same(app, root, tmp_path):
    predictor = kd.evals.Predictor.from_workdir(root / "price", trusted=TRUSTED)
    ds = predictor.open(str(root / "new.csv"))
    expected = predictor.predict(ds, keys=["preds.y"])["preds.y"][:, 0]
    app.infer(root / "new.csv", out=tmp_path / "out")
    got = [float(row["value"]) for row in _table(tmp_path / "out" / "y.csv")]
    np.testing.assert_allclose(got, expected, rtol=1e-6)  # printed with 7 digits


def test_classes_are_those_of_the_model(root, tmp_path):
    with apps.App(root / "large_app") as app:
        app.infer(root / "new.csv", out=tmp_path / "out")
        found = _table(tmp_path / "out" / "logits.csv")
        labels = _predicted(root, "large", "logits").argmax(-1)
        assert [int(row["label"]) for row in found] == labels.tolist()
        result = app.evaluate(root / "labelled.csv", {}, out=tmp_path / "measured")
    right = np.mean(labels == [row["large"] for row in _NEW])
    assert result.values["overall"] == {"accuracy": pytest.approx(right)}


@pytest.mark.parametrize("suffix", ["parquet", "json", "jsonl"])
def test_other_tables_give_the_same_bytes(app, root, tmp_path, suffix):
    path = tmp_path / f"new.{suffix}"
    if suffix == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet")
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(_NEW), path)
    elif suffix == "json":
        path.write_text(json.dumps(_NEW))
    else:
        path.write_text("\n".join(map(json.dumps, _NEW)))
    app.infer(path, out=tmp_path / "a")
    app.infer(root / "new.csv", out=tmp_path / "b")
    for name in ("y.csv", "result.json"):
        a, b = ((tmp_path / x / name).read_bytes() for x in "ab")
        assert a == b


def test_without_its_package_a_parquet_table_is_told(app, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "new.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImportError, match=r"kauldron\[parquet\]"):
        app.infer(tmp_path / "new.parquet", out=tmp_path / "out")


def test_whole_numbers_are_numbers_and_other_columns_do_not_count(app, tmp_path):
    (tmp_path / "a.csv").write_text("area,rooms,own\n80,4,x\n")
    (tmp_path / "b.csv").write_text("rooms,area\n4,80.0\n")
    values = [
        app.infer(tmp_path / f"{x}.csv", out=tmp_path / x).values["cases"] for x in "ab"
    ]
    assert values[0] == values[1]


def test_rows_are_called_by_their_own_column(app, tmp_path):
    (tmp_path / "a.csv").write_text("id,rooms,area\nhill/1,4,80\nlake,3,60\n")
    result = app.infer(tmp_path / "a.csv", out=tmp_path / "out")
    assert result.cases == ("1", "lake")
    (tmp_path / "b.csv").write_text("id,rooms,area\nlake,4,80\nlake,3,60\n")
    with pytest.raises(apps.AppError, match=r"Two rows .* called 'lake', by 'id'"):
        app.infer(tmp_path / "b.csv", out=tmp_path / "other")


@pytest.mark.parametrize(
    "text, told",
    [
        (
            "rooms,size\n1,2\n",
            r"lacks the column 'area': the app needs \['rooms', 'area'\]",
        ),
        ("rooms,area\n", "has no rows"),
        ("rooms,area\n1,x\n", "line 2: 'area' is 'x', which is no float64"),
        ("rooms,area\n1.5,x\n", "line 2: 'rooms' is '1.5', which is no int64"),
        ("rooms,area\n1\n", "line 2 has 1 fields, the header has 2"),
        ("", "its first line names the columns"),
    ],
)
def test_what_is_wrong_with_a_table_is_told_without_its_folder(
    app, tmp_path, text, told
):
    (tmp_path / "new.csv").write_text(text)
    with pytest.raises(apps.AppError, match=f"^The table 'new.csv' .*{told}") as error:
        app.infer(tmp_path / "new.csv", out=tmp_path / "out")
    assert str(tmp_path) not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text, told",
    [
        ('[{"rooms": "four", "area": 80.0}]', "'rooms' .* has texts: .* had int64"),
        ('[{"rooms": null, "area": 80.0}]', "'rooms' .* has object: .* had int64"),
        ('[{"rooms": [4], "area": 80.0}]', r"'rooms' .* has int64\[1\]: .* had int64"),
        ('[{"rooms": 4.5, "area": 80.0}]', "'rooms' .* has float64: .* had int64"),
        ('[{"rooms": 4, "area": 80.0}, {"rooms": 4}]', "record 2 lacks 'area'"),
        ("[[4, 80.0]]", "its records are objects"),
        ("[]", "has no rows"),
        ("{}", "must hold a JSON list"),
    ],
)
def test_what_is_wrong_with_records_is_told(app, tmp_path, text, told):
    (tmp_path / "new.json").write_text(text)
    with pytest.raises(apps.AppError, match=told):
        app.infer(tmp_path / "new.json", out=tmp_path / "out")


def test_rows_without_labels_are_not_measured(root, tmp_path):
    with (
        apps.App(root / "large_app") as app,
        pytest.raises(apps.AppError, match="lacks the columns of 'large'"),
    ):
        app.evaluate(root / "new.csv", {}, out=tmp_path / "out")


def test_references_are_no_table_of_their_own(app, root, tmp_path):
    labelled = root / "labelled.csv"
    with pytest.raises(apps.AppError, match=r"no references\. What is right are"):
        app.evaluate(labelled, labelled, out=tmp_path / "out")


def test_the_spread_of_members_is_told(root, tmp_path):
    cfg = workdirs.load_config(root / "price", trusted=TRUSTED)
    cfg.workdir = str(tmp_path / "longer")
    cfg.num_train_steps = 6
    konfig.resolve(cfg).train()
    members = [3]
    apps.bundle(tmp_path / "longer", tmp_path / "app", members=members, trusted=TRUSTED)
    with apps.App(tmp_path / "app") as app:
        app.infer(root / "new.csv", out=tmp_path / "mean")
        alone = [
            app.infer(root / "new.csv", out=tmp_path / name, ensemble=[name])
            for name in app.inspect().members
        ]
        app.uncertainty(root / "new.csv", out=tmp_path / "doubt")
    values = np.array(
        [[x["y"]["value"] for x in r.values["cases"].values()] for r in alone]
    )
    for folder, column in (("mean", "value"), ("doubt", "mean")):
        got = [float(row[column]) for row in _table(tmp_path / folder / "y.csv")]
        np.testing.assert_allclose(got, values.mean(0), rtol=1e-5, atol=1e-6)
    got = [float(row["variance"]) for row in _table(tmp_path / "doubt" / "y.csv")]
    np.testing.assert_allclose(got, values.var(0), rtol=1e-3)  # of rounded values


def test_an_input_that_a_batch_makes_is_refused_when_it_is_bundled(root, tmp_path):
    cfg = workdirs.load_config(root / "price", trusted=TRUSTED)
    name = "tests.apps.verbs.own_transforms:BatchOfRows"
    for ds in (cfg.train_ds, cfg.eval_ds):
        ds.transforms = [konfig.ConfigDict({"__qualname__": name})]
    with pytest.raises(apps.AppError, match="'x' of the model cannot be made of a row"):
        apps.bundle_trainer(konfig.resolve(cfg), cfg, tmp_path / "app")
    assert not (tmp_path / "app").exists()


@pytest.mark.slow
@pytest.mark.parametrize("device", ["auto", "cpu"])  # the warm worker, or a job
def test_a_server_gives_the_same_bytes(app, root, tmp_path, device):
    state = tmp_path / "state"
    served = [root / "price_app"]
    with kd.apps.background_server(served, state=state, warm=["price_app"]) as url:
        there = kd.apps.Client(url).app("price_app", device=device)
        answer = there.infer(root / "new.csv", out=tmp_path / "there")
        with pytest.raises(kd.apps.ServerError, match="lacks the column 'area'"):
            (tmp_path / "bad.csv").write_text("rooms\n1\n")
            there.infer(tmp_path / "bad.csv", out=tmp_path / "bad")
    told = app.infer(root / "new.csv", out=tmp_path / "here")
    assert answer.to_json() == told.to_json()
    for name in ("y.csv", "result.json"):
        here, there = ((tmp_path / x / name).read_bytes() for x in ("here", "there"))
        assert here == there
