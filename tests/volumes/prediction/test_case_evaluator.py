"""Whole cases: predicted, measured, written on the grid of their files."""

import dataclasses
import functools
import json
import pathlib
import shutil

import flax.linen as nn
import jax
import numpy as np
import pytest
from absl import flags

from kauldron import kd, konfig, kontext, step
from kauldron.cli import predict as predict_command
from kauldron.step import dropping
from kauldron.volumes.prediction import _folder
from tests.volumes.prediction import volumes_run

_CASES = ("case_0", "case_1", "case_2")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return volumes_run.write_cases(tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    """The trainer of a finished run, its state, and what the evaluator measured."""
    workdir = tmp_path_factory.mktemp("runs") / "seg"
    trainer = konfig.resolve(volumes_run.get_config(root, workdir))
    state, _ = trainer.train()
    return trainer, jax.device_get(state)


def _evaluator(trained, **changes):
    trainer, _ = trained
    return trainer.evals["final"].replace(**changes)


def _predicted(evaluator, state):
    return [predicted.members for predicted in evaluator._predicted(state)]


def _logits_by_hand(trainer, state, volume):
    """Returns the model's scores of a whole volume, blended by hand."""
    window = np.exp(-(((np.arange(4) - 1.5) * 2) ** 2) / 2)
    window = np.einsum("i,j,k->ijk", window, window, window)[..., None]
    total = np.zeros((*volume.shape[:3], 2))
    weight = np.zeros((*volume.shape[:3], 1))
    starts = [sorted({*range(0, n - 4, 2), n - 4}) for n in volume.shape[:3]]
    for start in np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 3):
        where = tuple(slice(a, a + 4) for a in start)
        with kd.nn.set_train_property(False):
            preds = trainer.model.apply({"params": state.params}, volume[where][None])
        total[where] += window * np.asarray(preds["logits"][0])
        weight[where] += window
    return total / weight


def test_labels_are_those_of_the_model_on_the_grid_of_the_file(trained, root):
    trainer, state = trained
    folder = pathlib.Path(trainer.workdir) / "outputs" / "final" / "step_2"
    assert sorted(x.name for x in folder.glob("*.mha")) == [f"{c}.mha" for c in _CASES]
    written = kd.volumes.read(folder / "case_1.mha")
    source = kd.volumes.read(root / "case_1" / "ct.mha")
    assert written.array.dtype == np.uint8
    assert written.geometry.is_close(source.geometry)

    reorient = kd.volumes.transforms.Reorient()
    seen, geometry, undo = reorient.forward(source.array, source.geometry)
    assert seen.shape != source.array.shape
    logits = _logits_by_hand(trainer, state, seen)
    back, _ = reorient.inverse(logits, geometry, undo, kind="map")
    np.testing.assert_array_equal(written.array[..., 0], back.argmax(-1))


def test_metrics_are_those_of_the_written_files(trained, root):
    trainer, _ = trained
    folder = pathlib.Path(trainer.workdir) / "outputs" / "final" / "step_2"
    dice = []
    for case in _CASES:
        a = kd.volumes.read(folder / f"{case}.mha").array > 0
        b = kd.volumes.read(root / case / "seg.mha").array > 0
        dice.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    lines = (pathlib.Path(trainer.workdir) / "metrics.jsonl").read_text()
    line = next(x for x in map(json.loads, lines.splitlines()) if x["step"] == 2)
    assert line["collection"] == "final"
    assert line["metrics/dice/mean"] == pytest.approx(np.mean(dice), rel=1e-6)


def test_a_checkpoint_is_evaluated_into_another_folder_or_none(trained, tmp_path):
    trainer, _ = trained
    workdir = pathlib.Path(trainer.workdir)
    before = sorted(workdir.rglob("*"))
    _, found = kd.evals.evaluate_checkpoint(trainer, out=tmp_path / "out")
    assert sorted(workdir.rglob("*")) == before
    written = tmp_path / "out" / "outputs" / "final" / "step_2"
    for case in _CASES:
        twin = workdir / "outputs" / "final" / "step_2" / f"{case}.mha"
        assert (written / twin.name).read_bytes() == twin.read_bytes()
    _, unwritten = kd.evals.evaluate_checkpoint(trainer, writes=False)
    assert sorted(workdir.rglob("*")) == before
    assert unwritten["final"].metric_values == found["final"].metric_values


def test_it_keeps_the_contract_of_evaluators(trained):
    trainer, _ = trained
    cfg = volumes_run.get_config(trainer.train_ds.path, "unused")

    def make():
        return konfig.resolve(cfg.evals["final"]).replace(run=kd.evals.EveryNSteps(10))

    kd.testing.check_evaluator(make, trainer)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"outputs": {"x": kd.volumes.Output(key="preds.logit", like="ct")}},
            "Did you mean 'preds.logits'",
        ),
        (
            {"losses": {"l2": kd.losses.L2(preds="interms.x", targets="batch.ct")}},
            "interms",
        ),
    ],
)
def test_keys_that_do_not_exist_are_told_before_anything_is_predicted(
    trained, changes, words
):
    trainer, _ = trained
    evaluator = _evaluator(trained, **changes)
    problems = evaluator.check(trainer, trainer.state_specs, field="cfg.evals['final']")
    assert words in "\n".join(map(str, problems))


class Deep(nn.Module):
    """Has an output at half the resolution, as models with deep supervision have."""

    image: kontext.Key = "batch.ct"

    @nn.compact
    def __call__(self, image):
        return {"logits": image, "deep": [image[:, ::2, ::2, ::2], image]}


def test_coarse_outputs_are_told_where_something_reads_them(trained):
    trainer, state = trained
    trainer = trainer.replace(model=Deep())
    l2 = functools.partial(kd.losses.L2, targets="batch.ct")
    fine = {"a": l2(preds="preds.deep[1]")}
    coarse = {"a": kd.losses.L2(preds="preds.deep[0]", targets="preds.deep[0]")}
    usual = {"model": Deep(), "metrics": {}, "outputs": {}}
    evaluator = _evaluator((trainer, state), losses=fine, **usual)
    specs = trainer.state_specs
    assert not evaluator.check(trainer, specs, field="cfg.evals['final']")
    aux = evaluator.evaluate(state, 2)
    assert aux.compute(flatten=False).loss_values["a"] == 0

    evaluator = _evaluator((trainer, state), losses=coarse, **usual)
    (problem,) = evaluator.check(trainer, specs, field="cfg.evals['final']")
    assert "'preds.deep[0]': Patches are put together from arrays" in str(problem)


@pytest.fixture(scope="module")
def plain(trained):
    _, state = trained
    return _predicted(_evaluator(trained), state)


def test_augmented_copies_come_back_to_the_place_of_the_case(trained, plain):
    """Each copy is predicted by a model of single voxels: they agree with the case."""
    _trainer, state = trained
    flips = kd.volumes.augment.Augment([kd.volumes.augment.Flip(prob=1.0)], copies=2)
    model = kd.nn.Sequential(
        inputs="batch.ct", outputs="logits", layers=[lambda x: np.float32(2) * x]
    )
    evaluator = _evaluator(trained, augment=flips, model=model)
    for members in _predicted(evaluator, state):
        assert len(members) == 3
        for member in members[1:]:
            np.testing.assert_allclose(
                member["preds.logits"], members[0]["preds.logits"], atol=1e-6
            )


def test_an_ensemble_predicts_with_each_checkpoint(trained, plain):
    trainer, state = trained
    first = kd.evals.Predictor.from_trainer(trainer, step=1).state
    evaluator = _evaluator(trained, ensemble=(1, f"{trainer.workdir}@1"))
    before = _predicted(_evaluator(trained), first)
    for members, now, old in zip(
        _predicted(evaluator, state), plain, before, strict=True
    ):
        scores = [member["preds.logits"] for member in members]
        np.testing.assert_array_equal(scores[0], now[0]["preds.logits"])
        np.testing.assert_array_equal(scores[1], old[0]["preds.logits"])
        np.testing.assert_array_equal(scores[2], scores[1])
        assert np.abs(scores[0] - scores[1]).max() > 1e-3


def test_dropout_really_drops_the_same_way_each_time(trained, plain):
    _, state = trained
    evaluator = _evaluator(trained, num_dropouts=3)
    (first, *_), (again, *_) = (
        _predicted(evaluator, state),
        _predicted(evaluator, state),
    )
    scores = [member["preds.logits"] for member in first]
    assert len(scores) == 3
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(scores[a] - scores[b]).max() > 1e-2
    for score, same in zip(scores, again, strict=True):
        np.testing.assert_array_equal(score, same["preds.logits"])
    assert np.abs(scores[0] - plain[0][0]["preds.logits"]).max() > 1e-2


def test_dropout_of_a_model_that_has_none_is_refused(trained):
    _, state = trained
    model = kd.nn.Sequential(inputs="batch.ct", outputs="logits", layers=[abs])
    evaluator = _evaluator(trained, model=model, num_dropouts=2)
    with pytest.raises(step.DropoutError, match="the model has none"):
        _predicted(evaluator, state)


def test_batch_norm_stays_in_the_mode_of_evaluation():
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = kd.nn.BatchNorm()(x)
            x = nn.Dropout(0.5)(x)
            return kd.nn.Dropout(0.5)(x)

    x = np.random.default_rng(0).normal(5, 1, size=(64, 8)).astype(np.float32)
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    with kd.nn.set_train_property(False), dropping.dropping():
        variables = Normed().init(rngs, x)
        out, changed = Normed().apply(variables, x, rngs=rngs, mutable=True)
    assert np.mean(np.asarray(out) == 0) == pytest.approx(0.75, abs=0.08)
    kept = np.asarray(out)[np.asarray(out) != 0]
    assert kept.mean() == pytest.approx(4 * 5, abs=0.5)  # not normalised to 0
    jax.tree.map(
        np.testing.assert_array_equal, changed["batch_stats"], variables["batch_stats"]
    )


@pytest.fixture
def run(capfd, monkeypatch):
    """Runs `kauldron predict` in this process; returns exit code, stdout, stderr."""
    monkeypatch.delenv("KAULDRON_DEBUG", raising=False)

    def run(*args):
        capfd.readouterr()
        argv = ["kauldron", "--trust=kauldron", *map(str, args)]
        code = predict_command.main(argv, flag_values=flags.FlagValues())
        return code, *capfd.readouterr()

    return run


def test_predict_writes_one_file_for_each_case_and_goes_on_where_it_ended(
    trained, run, tmp_path
):
    trainer, _ = trained
    out = tmp_path / "seg_out"
    args = (f"--workdir={trainer.workdir}", f"--out={out}")
    code, printed, err = run(*args)
    assert code == 0, err
    assert printed.splitlines() == [str(out / f"{case}.mha") for case in _CASES]
    usual = pathlib.Path(trainer.workdir) / "outputs" / "final" / "step_2"
    for case in _CASES:
        written = (out / f"{case}.mha").read_bytes()
        assert written == (usual / f"{case}.mha").read_bytes()

    (out / "case_1.mha").unlink()
    code, printed, err = run(*args)
    assert printed.splitlines() == [str(out / "case_1.mha")]
    assert "2 of 3 cases are there already" in err
    code, printed, err = run(*args, "--step=1", "--cfg.evals.final.window.overlap=0.25")
    assert code == 2
    changes = "`step` was 2 and is 1; `window.overlap` was 0.5 and is 0.25"
    assert f"has other predictions: {changes}. Choose" in err


def test_cases_without_labels_are_predicted_as_the_message_says(
    trained, run, tmp_path, root
):
    trainer, _ = trained
    (tmp_path / "new" / "case_7").mkdir(parents=True)
    shutil.copy(root / "case_1" / "ct.mha", tmp_path / "new" / "case_7")
    out = tmp_path / "out"
    args = [f"--workdir={trainer.workdir}", f"--out={out}"]
    args.append(f"--cfg.eval_ds.path={tmp_path / 'new'}")
    code, _, err = run(*args)
    assert code == 2 and not out.exists()
    option = "--cfg.eval_ds.groups.seg.optional=True"
    assert f"may be missing: {option}\n" in err
    code, printed, err = run(*args, option)
    assert code == 0, err
    assert printed.splitlines() == [str(out / "case_7.mha")]


@pytest.mark.parametrize("parent", ["/proc", "a_file"])
def test_a_folder_that_cannot_be_made_is_a_mistake(tmp_path, parent):
    (tmp_path / "a_file").write_text("")
    folder = tmp_path / parent / "out"
    with pytest.raises(kd.volumes.VolumeError, match="cannot be written to the folder"):
        _folder.PredictionFolder(folder, {"seg": ".mha"}, {})
    with pytest.raises(kd.volumes.VolumeError, match="Not a directory"):
        _folder.PredictionFolder(tmp_path / "a_file", {"seg": ".mha"}, {})


def test_settings_are_kept_with_the_first_volume(tmp_path):
    voxels = np.zeros((2, 2, 2, 1), np.uint8)
    volume = kd.volumes.transforms.opened(
        lambda region: voxels[region.slices],
        kd.volumes.transforms.Chain([]),
        shape=(2, 2, 2),
        geometry=kd.volumes.Geometry.make(),
    )
    folder = _folder.PredictionFolder(tmp_path, {"seg": ".mha"}, {"step": 2})
    assert not list(tmp_path.iterdir())
    folder.write("case", "seg", volume)
    assert json.loads((tmp_path / "predictions.json").read_text()) == {"step": 2}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--keys=preds.logits"], "is said by the evaluator"),
        (["--inputs=new.npz"], "`--cfg.eval_ds.path=FOLDER`"),
        (["--eval_name=finl"], "Did you mean 'final'"),
        (["--cfg.evals={}"], "no evaluator of the run writes one"),
    ],
)
def test_what_cannot_be_written_to_a_folder_is_a_mistake(
    trained, run, tmp_path, args, words
):
    trainer, _ = trained
    out = tmp_path / "seg_out"
    code, _, err = run(f"--workdir={trainer.workdir}", f"--out={out}", *args)
    assert code == 2
    assert words in err
    assert not out.exists()


def test_what_cannot_be_written_to_is_a_mistake_that_names_what_can(
    trained, run, tmp_path
):
    trainer, _ = trained
    workdir = f"--workdir={trainer.workdir}"
    code, _, err = run(workdir, f"--out={tmp_path}/x.nii.gz")
    assert code == 2 and "to a folder, which has no suffix: got" in err
    (tmp_path / "config.py").write_text("")
    code, _, err = run(workdir, f"--out={tmp_path}/config.py/out")
    assert code == 2 and err.startswith("Error: Predictions cannot be written to the")


def test_a_folder_with_other_files_is_left_alone(trained, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    _, state = trained
    with pytest.raises(kd.volumes.VolumeError, match="files that are no predictions"):
        list(_evaluator(trained).write_folder(state, tmp_path, step=2))


def test_doubt_is_written_beside_labels(trained, tmp_path):
    _, state = trained
    softmax = [kd.volumes.transforms.Softmax()]
    usual = {"key": "preds.logits", "like": "ct", "suffix": ".nii", "each": softmax}
    names = ("variance", "entropy", "disagreement", "stack")
    outputs = {name: kd.volumes.Output(of=name, **usual) for name in names}
    evaluator = _evaluator(trained, num_dropouts=3, outputs=outputs)
    files = list(evaluator.write_folder(state, tmp_path / "out", step=2))
    assert len(files) == 4 * 3
    read = {
        name: kd.volumes.read(tmp_path / "out" / name / "case_0.nii").array
        for name in names
    }
    probs = read["stack"].reshape(*read["stack"].shape[:3], 3, 2).astype(np.float64)
    mean = probs.mean(-2)
    np.testing.assert_allclose(
        read["variance"][..., 0], probs.var(-2).mean(-1), atol=1e-6
    )
    np.testing.assert_allclose(
        read["entropy"][..., 0], -(mean * np.log(mean)).sum(-1), atol=1e-5
    )
    ones = (probs[..., 1] > probs[..., 0]).sum(-1)
    np.testing.assert_allclose(
        read["disagreement"][..., 0], np.minimum(ones, 3 - ones) / 3, atol=1e-6
    )
    assert read["variance"].max() > 0


def test_a_dataset_of_patches_is_predicted_by_whole_cases(trained, plain):
    trainer, state = trained
    patches = kd.volumes.PatchGrid(size=(4, 4, 4))
    ds = dataclasses.replace(trainer.eval_ds, patches=patches, batch_size=2)
    predicted = _predicted(_evaluator(trained, ds=ds), state)
    for members, expected in zip(predicted, plain, strict=True):
        np.testing.assert_array_equal(
            members[0]["preds.logits"], expected[0]["preds.logits"]
        )
