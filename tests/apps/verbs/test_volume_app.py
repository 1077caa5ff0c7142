"""An app of volumes, a zip: against what the evaluator of its run writes."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from kauldron import apps, volumes


def _inputs(root):
    return {"ct": [root / "data" / f"case_{i}" / "ct.mha" for i in range(2)]}


def _references(root):
    return {"seg": [root / "data" / f"case_{i}" / "seg.mha" for i in range(2)]}


def _written_by_the_run(volumes_run_at, folder, **changes):
    """What the evaluator of the run writes with some fields changed."""
    _, trainer, state = volumes_run_at
    evaluator = trainer.evals["final"].replace(**{"augment": None, **changes})
    files = sorted(map(pathlib.Path, evaluator.write_folder(state, folder, step=2)))
    return [volumes.read(file) for file in files]


def _written_by_the_app(out):
    return [volumes.read(out / "seg" / f"{name}.mha") for name in ("ct", "ct_2")]


def _assert_equal(got, expected):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a.array, b.array)
        np.testing.assert_array_equal(a.geometry.matrix, b.geometry.matrix)
        np.testing.assert_array_equal(a.geometry.origin, b.geometry.origin)


def test_the_manifest_says_what_the_evaluator_knows(volume_app):
    manifest = volume_app.inspect()
    assert [(p.name, p.kind) for p in manifest.inputs] == [("ct", "volume")]
    assert [(p.name, p.kind) for p in manifest.references] == [("seg", "segmentation")]
    [output] = manifest.outputs
    assert output.labels == {1: apps.Label(name="above", colour="#aa3333")}
    assert (manifest.max_tta, manifest.max_mc) == (2, 4)
    assert manifest.members == ("step_2", "step_1")
    assert manifest.trusted == () and manifest.trusted_to_train == ()
    assert "evals.final.window.overlap" in manifest.allowed_overrides


@pytest.mark.parametrize(
    ("asked", "changes"),
    [
        ({"ensemble": 1}, {}),
        ({}, {"ensemble": [1]}),
        pytest.param(
            {"ensemble": 1, "mc": 3}, {"num_dropouts": 3}, marks=pytest.mark.slow
        ),
    ],
    ids=["one", "ensemble", "dropout"],
)
def test_it_writes_what_the_evaluator_of_the_run_writes(
    volume_app, volumes_run_at, tmp_path, asked, changes
):
    root, *_ = volumes_run_at
    volume_app.infer(_inputs(root), out=tmp_path / "app", **asked)
    expected = _written_by_the_run(volumes_run_at, tmp_path / "run", **changes)
    _assert_equal(_written_by_the_app(tmp_path / "app"), expected)


@pytest.mark.slow
def test_augmented_copies_are_as_many_as_asked(volume_app, volumes_run_at, tmp_path):
    root, trainer, _ = volumes_run_at
    # Copies are drawn by the name of a case, which is that of its file.
    for i in range(2):
        (tmp_path / f"case_{i}.mha").symlink_to(root / "data" / f"case_{i}" / "ct.mha")
    inputs = [tmp_path / f"case_{i}.mha" for i in range(2)]
    volume_app.infer(inputs, out=tmp_path / "app", ensemble=1, tta=1)
    augment = dataclasses.replace(trainer.evals["final"].augment, copies=1)
    expected = _written_by_the_run(volumes_run_at, tmp_path / "run", augment=augment)
    got = [volumes.read(tmp_path / "app" / "seg" / f"case_{i}.mha") for i in range(2)]
    _assert_equal(got, expected)


def test_dice_is_that_of_the_evaluator(volume_app, volumes_run_at, tmp_path):
    root, trainer, state = volumes_run_at
    result = volume_app.evaluate(
        _inputs(root), _references(root), out=tmp_path / "out", ensemble=1
    )
    evaluator = trainer.evals["final"].replace(augment=None, outputs={})
    expected = evaluator.evaluate(state, 2).compute().metric_values
    got = result.values["overall"]["dice/mean"]
    assert got == pytest.approx(float(expected["metrics/dice/mean"]), rel=1e-6)
    assert sorted(result.values["cases"]) == ["ct", "ct_2"]
    assert [file.path for file in result.files] == ["metrics.json"]


def _dice(a, b, inside):
    a, b = a[inside] == 1, b[inside] == 1
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture
def masks(volumes_run_at, tmp_path):
    """A random mask for each case, as files; and as arrays."""
    root, *_ = volumes_run_at
    rng = np.random.default_rng(0)
    files, arrays = [], []
    for i, file in enumerate(_inputs(root)["ct"]):
        image = volumes.read(file)
        arrays.append(rng.random(image.array.shape) < 0.4)
        files.append(tmp_path / f"mask_{i}.mha")
        image = dataclasses.replace(image, array=arrays[-1].astype(np.uint8))
        volumes.write(files[-1], image)
    return files, arrays


def test_an_evaluation_counts_inside_of_masks(
    volume_app, volumes_run_at, masks, tmp_path
):
    root, *_ = volumes_run_at
    files, inside = masks
    assert volume_app.inspect().takes_masks
    result = volume_app.pipeline(
        _inputs(root), _references(root), masks=files, out=tmp_path / "out"
    )
    truths = [volumes.read(x).array for x in _references(root)["seg"]]
    preds = [x.array for x in _written_by_the_app(tmp_path / "out" / "predictions")]
    expected = [_dice(p, t, m) for p, t, m in zip(preds, truths, inside, strict=True)]
    whole = [
        _dice(p, t, np.ones_like(m))
        for p, t, m in zip(preds, truths, inside, strict=True)
    ]
    got = [result.values["cases"][case]["dice/mean"] for case in ("ct", "ct_2")]
    np.testing.assert_allclose(got, expected, rtol=1e-6)  # printed with 7 digits
    assert abs(np.subtract(got, whole)).min() > 1e-3
    assert result.values["overall"]["dice/mean"] == pytest.approx(np.mean(expected))


@pytest.mark.slow
def test_masks_count_on_a_server_and_on_the_command_line_of_its_job(
    volume_app, volumes_run_at, masks, tmp_path
):
    root, *_ = volumes_run_at
    files, _ = masks
    asked = {"inputs": _inputs(root), "references": _references(root), "masks": files}
    here = volume_app.evaluate(**asked, out=tmp_path / "here")
    state = tmp_path / "state"
    with apps.background_server([root / "app.zip"], state=state) as url:
        remote = apps.Client(url).app("halves")
        there = remote.evaluate(**asked, out=tmp_path / "there")
    assert there.to_json() == here.to_json()


def test_without_masks_all_voxels_count(volume_app, volumes_run_at, masks, tmp_path):
    """And predictions are the same whether there are masks or not."""
    root, *_ = volumes_run_at
    asked = {"inputs": _inputs(root), "references": _references(root)}
    plain = volume_app.pipeline(**asked, out=tmp_path / "plain")
    ones = []
    for i, file in enumerate(_inputs(root)["ct"]):
        image = volumes.read(file)
        array = np.ones(image.array.shape, np.uint8)
        ones.append(tmp_path / f"ones_{i}.mha")
        volumes.write(ones[-1], dataclasses.replace(image, array=array))
    all_of_it = volume_app.pipeline(**asked, masks=ones, out=tmp_path / "ones")
    assert plain.values == all_of_it.values
    _assert_equal(
        _written_by_the_app(tmp_path / "plain" / "predictions"),
        _written_by_the_app(tmp_path / "ones" / "predictions"),
    )


def test_doubt_is_mapped_on_the_grid_of_the_file(volume_app, volumes_run_at, tmp_path):
    root, *_ = volumes_run_at
    result = volume_app.uncertainty(_inputs(root), out=tmp_path / "out")
    original = volumes.read(root / "data" / "case_0" / "ct.mha")
    maps = {
        name: volumes.read(tmp_path / "out" / f"seg_{name}" / "ct.mha")
        for name in ("disagreement", "entropy")
    }
    for name, image in maps.items():
        assert image.array.shape == original.array.shape
        np.testing.assert_array_equal(image.geometry.matrix, original.geometry.matrix)
        mean = result.values["cases"]["ct"][f"seg_{name}"]
        assert mean == pytest.approx(image.array.mean(), rel=1e-5)
    # Two members agree or do not; two classes are log(2) apart at most.
    assert set(np.unique(maps["disagreement"].array)) <= {0.0, 0.5}
    assert 0 < maps["entropy"].array.max() <= np.log(2) + 1e-6


def test_overrides_are_applied_where_the_app_allows(
    volume_app, volumes_run_at, tmp_path
):
    root, *_ = volumes_run_at
    one = _inputs(root)["ct"][:1]
    path = "evals.final.window.overlap"
    result = volume_app.uncertainty(one, out=tmp_path / "a", overrides={path: 0})
    assert result.applied["overrides"] == {path: 0}
    other = volume_app.uncertainty(one, out=tmp_path / "b")
    assert result.values != other.values
    with pytest.raises(apps.AppError, match=r"does not let a call set `cfg\.model"):
        volume_app.infer(one, out=tmp_path / "c", overrides={"model.layers": []})


def test_the_same_call_writes_the_same_bytes(volume_app, volumes_run_at, tmp_path):
    root, *_ = volumes_run_at
    for name in ("a", "b"):
        volume_app.pipeline(
            _inputs(root),
            _references(root),
            out=tmp_path / name,
            mc=2,
            tta=1,
            with_uncertainty=True,
        )
    files = sorted(x for x in (tmp_path / "a").rglob("*") if x.is_file())
    assert len(files) == 2 * 3 + 2
    for file in files:
        other = tmp_path / "b" / file.relative_to(tmp_path / "a")
        assert file.read_bytes() == other.read_bytes()


def test_a_file_that_is_no_volume_is_told_by_its_case(volume_app, tmp_path):
    (tmp_path / "scan.mha").write_text("not a volume")
    with pytest.raises(volumes.VolumeError, match=r"scan\.mha"):
        volume_app.infer(tmp_path / "scan.mha", out=tmp_path / "out")


@pytest.mark.slow
def test_fine_tuning_begins_with_the_weights_and_counts_on(
    volume_app, volumes_run_at, tmp_path
):
    root, *_ = volumes_run_at
    copy = shutil.copytree(root / "data", tmp_path / "copy")
    result = volume_app.fine_tune(
        out=tmp_path / "out",
        steps=3,
        data=copy,
        learning_rate=1e-30,  # so small that no weight of 32 bits changes
        name="mine",
    )
    assert result.values["app"] == {"step": 5}
    assert set(result.values["training"]) >= {"after_updates", "losses/xentropy"}
    assert result.values["training"]["after_updates"] == 2  # that of the last one
    assert "overall" not in result.values
    assert [x.name for x in (tmp_path / "out").iterdir() if x.name[0] == "."] == []
    with apps.App(tmp_path / "out" / "mine") as tuned:
        manifest = tuned.inspect()
        assert (manifest.name, manifest.step) == ("mine", 5)
        assert manifest.members == ("step_5",)
        assert manifest.outputs == volume_app.inspect().outputs
        one = _inputs(root)["ct"][:1]
        tuned.infer(one, out=tmp_path / "tuned")
        volume_app.infer(one, out=tmp_path / "before", ensemble=1)
    for file in ("seg/ct.mha",):
        assert (tmp_path / "tuned" / file).read_bytes() == (
            tmp_path / "before" / file
        ).read_bytes()
    config = json.loads((tmp_path / "out" / "mine" / "config.json").read_text())
    assert config["train_ds"]["0"] == str(root / "data")  # as in the app, not `copy`
    assert "workdir" not in config
