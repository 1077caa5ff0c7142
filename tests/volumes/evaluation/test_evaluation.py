"""Predictions against references, file by file: values, what is wrong, JSON and page."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import PIL.Image
import pytest

from kauldron import kd

volumes = kd.volumes
_GEOMETRY = volumes.Geometry.make((3.0, 1.0, 0.5), (10.0, -20.0, 30.0))


def _write(path, array, geometry=_GEOMETRY):
    path.parent.mkdir(parents=True, exist_ok=True)
    volumes.write(path, volumes.Image(array, geometry))


def _labels(seed, num_labels=3):
    return np.random.default_rng(seed).integers(0, num_labels, (6, 5, 7)).astype("u1")


@pytest.fixture
def folders(tmp_path):
    """Predictions and references of two cases; label 2 is in one of them only."""
    arrays = {"a": (_labels(0), _labels(1)), "b": (_labels(2, 2), _labels(3, 2))}
    for case, (pred, ref) in arrays.items():
        _write(tmp_path / "preds" / f"{case}.nii.gz", pred)
        _write(tmp_path / "refs" / case / "seg.npy", ref)
    return tmp_path, arrays


def _refs(root):
    return f"{root}/refs/*/seg.npy"


def test_values_are_those_of_the_functions_with_the_spacing_of_the_files(folders):
    root, arrays = folders
    found = volumes.evaluate(
        root / "preds", _refs(root), metrics=("dice", "hd95", "asd", "surface_dice")
    )
    spacing = {"spacing_mm": (3.0, 1.0, 0.5)}
    for case, (pred, ref) in arrays.items():
        for label in (1, 2) if case == "a" else (1,):
            pair = pred == label, ref == label
            values = {k: v[str(label)] for k, v in found.cases[case].items()}
            measure = volumes.metrics
            assert values == pytest.approx(
                {
                    "dice": measure.dice(*pair),
                    "hd95": measure.hausdorff(*pair, percentile=95, **spacing),
                    "asd": measure.surface_distance(*pair, **spacing),
                    "surface_dice": measure.surface_dice(*pair, **spacing),
                }
            )
    assert list(found.cases["b"]["dice"]) == ["1"]


def test_the_json_file_has_every_value_and_what_they_are_together(folders):
    root, arrays = folders
    found = volumes.evaluate(root / "preds", _refs(root), metrics=("dice", "hd"))
    found.write(root / "out" / "metrics.json")
    written = json.loads((root / "out" / "metrics.json").read_text())
    assert written["directions"] == {"dice": "max", "hd": "min"}
    assert written["failed"] == []
    assert len(written["cases"]) == 2 * 2 * 2
    expected = [volumes.metrics.dice(p == 1, r == 1) for p, r in arrays.values()]
    rows = [r for r in written["cases"] if (r["metric"], r["label"]) == ("dice", 1)]
    assert [(r["case"], r["value"]) for r in rows] == list(
        zip("ab", expected, strict=True)
    )
    (nothing,) = [
        r for r in written["cases"] if r["value"] is None and r["metric"] == "hd"
    ]
    assert (nothing["case"], nothing["label"]) == ("b", 2)
    first, second, *_ = written["aggregates"]
    low, high = sorted(expected)
    assert first == pytest.approx(
        {
            "metric": "dice",
            "label": 1,
            "mean": (low + high) / 2,
            "std": (high - low) / 2,
            "min": low,
            "25pc": low + (high - low) / 4,
            "median": (low + high) / 2,
            "75pc": high - (high - low) / 4,
            "max": high,
            "count": 2,
            "num_undefined": 0,
        }
    )
    assert (second["label"], second["count"], second["num_undefined"]) == (2, 1, 1)
    assert "dice ↑  2" in str(found) and "1 (+1 n/a)" in str(found)


@pytest.mark.parametrize("metrics", [("dice",), ("mae", "psnr", "mse")])
def test_slabs_give_exactly_the_values_of_the_whole(tmp_path, metrics):
    rng = np.random.default_rng(0)
    for folder in ("preds", "refs"):
        array = rng.integers(0, 3, (6, 5, 7)).astype("u1")
        if metrics != ("dice",):
            array = rng.normal(size=(6, 5, 7)) * 10.0 ** rng.integers(-8, 8, (6, 1, 1))
        _write(tmp_path / folder / "a.nii", array)
    _write(tmp_path / "masks" / "a.nii", rng.integers(0, 2, (6, 5, 7)).astype("u1"))
    folders = tmp_path / "preds", tmp_path / "refs"
    options = {"metrics": metrics, "data_range": 2.0, "masks": tmp_path / "masks"}
    whole = volumes.evaluate(*folders, **options)
    for slab_planes in (1, 4):
        found = volumes.evaluate(*folders, **options, slab_planes=slab_planes)
        assert found.cases == whole.cases
    assert not np.isnan(list(whole.cases["a"][metrics[0]].values())).any()


def test_masks_say_which_voxels_count(folders):
    root, arrays = folders
    mask = np.zeros((6, 5, 7), np.uint8)
    mask[2:] = 1
    for case in arrays:
        _write(root / "masks" / f"{case}.nii.gz", mask)
    found = volumes.evaluate(
        root / "preds",
        _refs(root),
        metrics=("dice", "hd"),
        labels=(0, 1),
        masks=root / "masks",
        error_maps=root / "errors",
    )
    pred, ref = arrays["a"]
    inside = mask > 0
    expected = volumes.metrics.dice(pred, ref, labels=(0, 1), mask=mask)
    assert found.cases["a"]["dice"] == {"0": expected[0], "1": expected[1]}
    distance = volumes.metrics.hausdorff(
        (pred == 1) & inside, (ref == 1) & inside, spacing_mm=(3, 1, 0.5)
    )
    assert found.cases["a"]["hd"]["1"] == pytest.approx(distance)
    errors = volumes.read(root / "errors" / "a.nii.gz")
    assert errors.geometry.is_close(_GEOMETRY)
    errors = errors.array[..., 0]
    np.testing.assert_array_equal(errors > 0, (pred != ref) & inside)
    np.testing.assert_array_equal(errors == 1, (pred > 0) & (ref == 0) & inside)
    np.testing.assert_array_equal(errors == 2, (pred == 0) & (ref > 0) & inside)


def test_missing_files_are_listed_all_at_once(folders):
    root, _ = folders
    _write(root / "preds" / "c.nii", _labels(0))
    _write(root / "refs" / "d" / "seg.npy", _labels(0))
    with pytest.raises(volumes.VolumeError) as error:
        volumes.evaluate(root / "preds", _refs(root))
    assert "Files are missing (2)" in str(error.value)
    assert "c: no reference in" in str(error.value)
    assert "d: no prediction in" in str(error.value)
    (root / "preds" / "c.nii").unlink()
    found = volumes.evaluate(root / "preds", _refs(root), allow_missing=True)
    assert list(found.cases) == ["a", "b"]


def test_files_in_folders_of_cases_are_named_by_a_pattern_that_the_message_shows(
    folders,
):
    root, _ = folders
    with pytest.raises(volumes.VolumeError) as error:
        volumes.evaluate(root / "preds", root / "refs")
    message = str(error.value)
    assert f"such as '{_refs(root)}'.\nTo leave out" in message
    assert "`allow_missing=True` or `--allow_missing`" in message


def test_a_label_that_no_file_has_is_told(folders, capsys):
    root, _ = folders
    volumes.evaluate(root / "preds", _refs(root), labels=(1, 2), metrics=("hd",))
    assert capsys.readouterr().err == ""
    volumes.evaluate(root / "preds", _refs(root), labels=(1, 9), metrics=("dice",))
    told = capsys.readouterr().err
    assert "No file has the label 9" in told and "the labels 1, 2." in told


def test_grids_that_differ_are_listed_all_at_once(folders):
    root, _ = folders
    _write(root / "preds" / "a.nii.gz", _labels(0)[1:])
    _write(root / "preds" / "b.nii.gz", _labels(0), _GEOMETRY.moved((1, 0, 0)))
    with pytest.raises(volumes.VolumeError) as error:
        volumes.evaluate(root / "preds", _refs(root))
    message = str(error.value)
    assert re.search(
        r"a: .*a.nii.gz has the shape \(5, 5, 7\) and not \(6, 5, 7\)", message
    )
    assert re.search(r"b: .*b.nii.gz lies elsewhere: .* 33.0\] mm, and not", message)


def test_a_broken_case_is_told_and_the_others_are_measured(folders):
    root, _ = folders
    (root / "preds" / "a.nii.gz").write_bytes(b"no volume")
    found = volumes.evaluate(root / "preds", _refs(root), metrics=("dice",))
    assert list(found.cases) == ["b"]
    assert "a.nii.gz" in found.failed["a"]
    volumes.write_report(found, root / "report.html")
    assert "Not measured (1)" in (root / "report.html").read_text()
    _write(root / "preds" / "a.nii.gz", _labels(0) / 2)
    found = volumes.evaluate(root / "preds", _refs(root), metrics=("dice",))
    assert "a.nii.gz holds numbers that are no labels, such as 0.5" in found.failed["a"]
    (root / "preds" / "b.nii.gz").write_bytes(b"no volume")
    found = volumes.evaluate(root / "preds", _refs(root), metrics=("dice",))
    assert str(found) == "No case could be measured."


def test_the_page_is_one_file_with_pictures_and_needs_no_network(folders):
    root, _ = folders
    found = volumes.evaluate(root / "preds", _refs(root))
    volumes.write_report(found, root / "report.html", title="a < b")
    page = (root / "report.html").read_text()
    assert "<title>a &lt; b</title>" in page
    assert "http" not in page and "<script" not in page
    pictures = re.findall(r'src="data:image/png;base64,([^"]*)"', page)
    assert len(pictures) == 2
    with PIL.Image.open(io.BytesIO(base64.b64decode(pictures[0]))) as picture:
        assert picture.size[1] >= 100
    worst = min(
        found.cases, key=lambda c: np.mean(list(found.cases[c]["dice"].values()))
    )
    assert re.findall(r"<figcaption>(\w)<", page)[0] == worst
    volumes.write_report(found, root / "report.html", max_pictures=0)
    assert "data:image" not in (root / "report.html").read_text()


def test_intensities_are_compared_and_drawn(tmp_path):
    a, b = np.random.default_rng(0).random((2, 12, 12, 12)).astype("f4")
    _write(tmp_path / "preds" / "x.nii", a)
    _write(tmp_path / "refs" / "x.nii", b)
    folders = tmp_path / "preds", tmp_path / "refs"
    found = volumes.evaluate(
        *folders,
        metrics=("psnr", "ssim", "mae"),
        data_range=2,
        error_maps=tmp_path / "e",
    )
    values = {k: v[""] for k, v in found.cases["x"].items()}
    assert values == pytest.approx(
        {
            "psnr": volumes.metrics.psnr(a, b, data_range=2),
            "ssim": volumes.metrics.ssim(a, b, data_range=2),
            "mae": np.abs(a.astype("f8") - b).mean(),
        }
    )
    assert found.directions == {"psnr": "max", "ssim": "max", "mae": "min"}
    errors = volumes.read(tmp_path / "e" / "x.nii.gz").array[..., 0]
    np.testing.assert_allclose(errors, a - b)
    assert found.records()[0]["label"] is None
    volumes.write_report(found, tmp_path / "report.html")
    assert "data:image" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ((), "what is measured"),
        (("dise",), "Did you mean 'dice'"),
        (("hd101",), "no measure 'hd101'"),
        (("psnr",), "`psnr` needs `data_range`"),
        (("dice", "mae"), "one after the other"),
    ],
)
def test_measures_that_cannot_be_are_told_before_files_are_read(metrics, message):
    with pytest.raises(volumes.VolumeError, match=message):
        volumes.evaluate("nowhere", "nowhere", metrics=metrics)


def test_names_of_cases_are_what_the_star_stands_for(folders):
    root, _ = folders
    with pytest.raises(volumes.VolumeError, match=r"no folder '.*nowhere'"):
        volumes.evaluate(root / "nowhere", _refs(root))
    with pytest.raises(volumes.VolumeError, match="no volumes at"):
        volumes.evaluate(root / "preds", root / "refs" / "*" / "other.npy")
    for folder in ("nested", "nested_refs"):
        _write(root / folder / "site" / "x.nii", _labels(0))
        _write(root / folder / "y.mha", _labels(0))
    found = volumes.evaluate(root / "nested", root / "nested_refs", metrics=["dice"])
    assert list(found.cases) == ["site/x", "y"]
    _write(root / "preds" / "a.nii", _labels(0))
    with pytest.raises(volumes.VolumeError, match="'a' is there twice"):
        volumes.evaluate(root / "preds", _refs(root))
