"""Studies: what is run, what is left on disk, what is refused."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import pytest

from kauldron import kd, konfig, launch
from kauldron._base import errors, shared_files
from kauldron.workdir import measured
from tests.tracking.tuning import fake_trials

tune = kd.tracking.tune


@pytest.fixture
def study(tmp_path):
    return tune.Study(
        cfg=fake_trials.write_config(tmp_path),
        workdir=str(tmp_path / "study"),
        space={"aux.width": tune.Int(1, 64)},
        metric="eval.accuracy",
        num_trials=5,
    )


def _folder(study) -> pathlib.Path:
    return pathlib.Path(study.workdir)


def _run(study, **kwargs):
    backend = fake_trials.Local(**kwargs)
    launch.run_sweep(study, backend)
    return backend


def test_trials_are_runs_of_which_the_first_is_the_config_as_it_is(study, tmp_path):
    backend = _run(study)
    overview = tune.read_study(study.workdir)
    assert backend.started[0] == "width=4"  # as the config has it
    assert [t.name for t in overview.trials] == backend.started
    assert [t.state for t in overview.trials] == ["done"] * 5
    for trial in overview.trials:
        reached = fake_trials.by_width(trial.overrides)
        assert trial.best == pytest.approx(reached)
        assert trial.values == pytest.approx({i: reached * i / 4 for i in (1, 2, 3, 4)})
    assert overview.best is not None
    assert overview.best.best == max(t.best for t in overview.trials)
    # A sweep, a registry and a tracker find them as any others.
    sweep = launch.read_sweep(study.workdir)
    assert [t.name for t in sweep.trials] == backend.started
    assert sweep.best.name == overview.best.name


def test_started_again_only_what_is_missing_is_run_and_more_are_added(study):
    first = _run(study)
    assert _run(study).started == []
    more = dataclasses.replace(study, num_trials=8)
    second = _run(more)
    assert len(second.started) == 3
    # As if it had been one study of eight.
    whole = _run(dataclasses.replace(more, workdir=f"{study.workdir}-whole"))
    assert whole.started == [*first.started, *second.started]


def test_several_trials_at_a_time_are_as_many_in_all(study):
    backend = _run(study, parallel=2, num_looks=2)
    assert backend.most_at_once == 2
    assert len(backend.started) == len(set(backend.started)) == 5


def test_a_backend_without_a_number_needs_one(study):
    with pytest.raises(launch.LaunchError, match="such as `--parallel=8`"):
        _run(study, parallel=None)
    assert not (_folder(study) / "study.json").exists()
    backend = fake_trials.Local(parallel=None, num_looks=2)
    launch.run_sweep(study, backend, parallel=3)
    assert backend.most_at_once == 3


class _Crash(BaseException):
    pass


def test_killed_before_or_after_whatever_is_written_nothing_is_lost_or_doubled(
    study, monkeypatch, tmp_path
):
    expected = _run(dataclasses.replace(study, workdir=str(tmp_path / "whole"))).started
    write = shared_files.write_atomically
    num_writes, crashes_at = 0, -1

    def write_or_die(path, text, **kwargs):
        nonlocal num_writes
        # Of the study's own files: those of the runs are the subject of other tests.
        if str(path).endswith(("study.json", "sweep.json", "base_config.json")):
            num_writes += 1
            if num_writes == crashes_at:
                raise _Crash  # before
            write(path, text, **kwargs)
            if num_writes == -crashes_at:
                raise _Crash  # after
            return
        write(path, text, **kwargs)

    monkeypatch.setattr(shared_files, "write_atomically", write_or_die)
    crashed = 0
    for at in [sign * n for n in range(1, 9) for sign in (1, -1)]:
        killed = dataclasses.replace(study, workdir=str(tmp_path / f"killed{at}"))
        num_writes, crashes_at = 0, at
        # What a backend knows is in the records of tasks: here, it is kept.
        backend = fake_trials.Local()
        try:
            launch.run_sweep(killed, backend)
        except _Crash:
            crashed += 1
        crashes_at = 0
        launch.run_sweep(killed, backend)
        assert backend.started == expected
        trials = tune.read_study(killed.workdir).trials
        assert [(t.name, t.state) for t in trials] == [(n, "done") for n in expected]
    assert crashed == 16


def test_failed_trials_count_and_are_tried_again_when_the_study_is_started_again(study):
    def fails_once(overrides):
        if int(overrides["aux.width"]) == 4 and not fixed:
            raise ValueError("out of memory")
        return fake_trials.by_width(overrides)

    fixed = []
    backend = fake_trials.Local(fails_once)
    assert launch.run_sweep(study, backend).exit_code == 1
    trials = tune.read_study(study.workdir).trials
    assert [t.state for t in trials] == ["failed", *["done"] * 4]
    assert trials[0].message == "ValueError: out of memory"
    fixed.append(True)
    again = _run(study, value=fails_once)
    assert again.started == ["width=4"]
    assert tune.read_study(study.workdir).trials[0].state == "done"


def test_a_study_whose_trials_all_fail_ends_and_says_why(study):
    def fails(overrides):
        raise ValueError("no such file")

    backend = fake_trials.Local(fails)
    with pytest.raises(errors.Failure, match=r"3 trials have failed.*no such file"):
        launch.run_sweep(study, backend)
    assert len(backend.started) == 3


def test_a_space_that_is_exhausted_ends_the_study(study):
    small = dataclasses.replace(study, space={"aux.act": tune.Choice(["relu", "gelu"])})
    assert _run(small, value=lambda o: 0.5).started == ["act=relu", "act=gelu"]


def test_fields_under_a_condition_are_set_where_it_is_met(study):
    texts = ["aux.act=choice(relu,gelu)", "aux.beta=float(0,1) if aux.act=gelu"]
    conditional = dataclasses.replace(
        study, space=tune.parse_space(texts), num_trials=12
    )
    _run(conditional, value=lambda o: float(o.get("aux.beta", 0.2)))
    trials = tune.read_study(conditional.workdir).trials
    assert {t.overrides["aux.act"] for t in trials} == {"relu", "gelu"}
    for trial in trials:
        is_set = "aux.beta" in trial.overrides
        assert is_set == (trial.overrides["aux.act"] == "gelu")


def test_the_best_config_is_a_file_that_can_be_run(study):
    _run(study)
    path = study.write_best_config()
    cfg = konfig.load_config_file(path)
    best = tune.read_study(study.workdir).best
    assert cfg.aux.width == int(best.overrides["aux.width"])
    assert "hooks" not in cfg  # it is no trial
    assert (cfg.aux.rate, cfg.workdir) == (0.25, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {"aux.width": tune.Int(1, 32)}}, r"aux.width=int\(1,64\) -> "),
        ({"space": {"aux.rate": tune.Float(0, 1)}}, "the space: aux.width"),
        ({"mode": "min"}, "the direction: max -> min"),
        ({"metric": "eval.loss"}, "the metric: eval.accuracy -> eval.loss"),
    ],
)
def test_another_study_in_the_same_folder_is_refused(study, change, message):
    _run(dataclasses.replace(study, num_trials=1))
    before = (_folder(study) / "study.json").read_bytes()
    with pytest.raises(tune.StudyError, match=message):
        _run(dataclasses.replace(study, **change))
    assert (_folder(study) / "study.json").read_bytes() == before


def test_what_proposes_and_what_ends_trials_may_change(study):
    _run(dataclasses.replace(study, num_trials=1))
    changed = dataclasses.replace(study, sampler="random", pruner="median", seed=7)
    _run(changed)
    saved = json.loads((_folder(study) / "study.json").read_text())
    assert (saved["sampler"], saved["pruner"], saved["seed"]) == ("random", "median", 7)


def test_another_config_and_the_folder_of_a_sweep_are_refused(study):
    _run(dataclasses.replace(study, num_trials=1))
    with pytest.raises(launch.LaunchError, match="another config"):
        _run(dataclasses.replace(study, flags=("--cfg.aux.rate=0.5",)))
    sweep = launch.Sweep(
        cfg=study.cfg, workdir=f"{study.workdir}-sweep", trials=[{"aux.rate": 1.0}]
    )
    launch.run_sweep(sweep, fake_trials.Local(lambda o: 0.5))
    with pytest.raises(tune.StudyError, match="holds a sweep"):
        _run(dataclasses.replace(study, workdir=sweep.workdir))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"space": {"aux.widht": tune.Int(1, 8)}},
            konfig.ConfigError,
            r"--space=aux.widht=int\(1,8\).*Did you mean 'width'",
        ),
        (
            {"space": {"aux.width": tune.Float(0.5, 8)}},
            konfig.ConfigError,
            "expected an int",
        ),
        ({"metric": "evl.accuracy"}, measured.MetricError, "Did you mean 'eval'"),
        ({"metric": "accuracy"}, measured.MetricError, "'eval.NAME'"),
        ({"metric": None}, tune.StudyError, "such as `--metric="),
        ({"mode": "best"}, measured.MetricError, "'max' or 'min'"),
        ({"sampler": "tep"}, tune.StudyError, "Did you mean 'tpe'"),
        ({"pruner": "mdian"}, tune.StudyError, "Did you mean 'median'"),
        (
            {"metric": "train.total", "pruner": "median"},
            tune.StudyError,
            "measured in training",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_written(study, change, error, message):
    with pytest.raises(error, match=message):
        _run(dataclasses.replace(study, **change))
    assert not _folder(study).exists()


def test_what_is_given_for_all_trials_cannot_differ(study):
    with pytest.raises(tune.StudyError, match="differs between trials, and is given"):
        dataclasses.replace(study, flags=("--cfg.aux.width=3",))
    with pytest.raises(tune.StudyError, match="at least 1"):
        dataclasses.replace(study, num_trials=0)


def test_a_metric_that_no_trial_measures_ends_the_study_after_the_first(study):
    backend = fake_trials.Local()
    with pytest.raises(errors.Failure, match=r"has measured 'eval\.recall'"):
        launch.run_sweep(dataclasses.replace(study, metric="eval.recall"), backend)
    assert len(backend.started) == 1


def test_nothing_to_look_at_is_told_with_what_is_there(study, tmp_path):
    with pytest.raises(tune.StudyError, match="no study"):
        tune.read_study(str(tmp_path / "stdy"))
    _run(dataclasses.replace(study, num_trials=1))
    with pytest.raises(tune.StudyError, match="There are studies in it: study"):
        tune.read_study(str(tmp_path))
    (_folder(study) / "study.json").write_text("{")
    with pytest.raises(tune.StudyError, match=r"is damaged.*its trials stay"):
        tune.read_study(study.workdir)
    (_folder(study) / "study.json").unlink()
    _run(study)
    assert len(tune.read_study(study.workdir).trials) == 5


def test_the_table_marks_the_best_and_tells_what_was_not_set(study):
    texts = ["aux.act=choice(relu,gelu)", "aux.beta=float(0,1) if aux.act=gelu"]
    conditional = dataclasses.replace(
        study, space=tune.parse_space(texts), num_trials=2
    )
    _run(conditional, value=lambda o: 0.5 if o["aux.act"] == "relu" else 0.25)
    overview = tune.read_study(conditional.workdir)
    beta = overview.trials[1].overrides["aux.beta"]
    lines = [" ".join(line.split()) for line in str(overview).splitlines()]
    assert lines == [
        "# act beta state step eval.accuracy at step",
        "* 0 relu - done 4/4 0.5 4",
        f"1 gelu {beta} done 4/4 0.25 4",
    ]
    assert overview.summary() == (
        "2 of 2 trials: 2 done. Best eval.accuracy: 0.5, of act=relu."
    )
    content = json.loads(json.dumps(overview.as_dict(), allow_nan=False))
    assert content["best"] == "act=relu"
    assert content["trials"][0]["values"] == {
        "1": 0.125,
        "2": 0.25,
        "3": 0.375,
        "4": 0.5,
    }


def test_lines_for_somebody_else_are_as_many_as_may_run_at_a_time(study, tmp_path):
    backend = launch.Commands(file=str(tmp_path / "commands.sh"))
    for num_trials in (2, 4, 5):
        launch.run_sweep(study, backend, parallel=2)
        lines = (tmp_path / "commands.sh").read_text().splitlines()
        trials = tune.read_study(study.workdir).trials
        assert len(trials) == num_trials
        waiting = [t for t in trials if t.state == "running"]
        assert len(lines) == len(waiting)
        for trial, line in zip(waiting, lines, strict=True):
            assert f"--cfg.aux.width={trial.overrides['aux.width']} " in line
            fake_trials.write_run(trial.workdir, lambda: 0.5)


@pytest.mark.parametrize(
    ("flags", "space", "problem"),
    [
        (("--cfg.num_train_steps=100",), "aux.num_features", "every 200 steps"),
        (("--cfg.num_train_steps=200",), "aux.num_features", None),
        (("--cfg.num_train_steps=100",), "evals.eval.run.n", None),
        (
            ("--cfg.num_train_steps=9", "--cfg.evals.eval.run.n=10"),
            "aux.num_features",
            r"`--cfg.evals.eval.run.n=9` or less",
        ),
    ],
)
def test_a_metric_that_only_step_0_measures_is_told_before_anything_starts(
    tmp_path, flags, space, problem
):
    study = tune.Study(
        cfg="examples/digits_classifier.py",
        workdir=str(tmp_path / "study"),
        space={space: tune.Int(8, 64)},
        metric="eval.accuracy",
        num_trials=2,
        flags=flags,
    )
    if problem is None:
        assert study.check() == ("eval.accuracy", "max")
    else:
        with pytest.raises(measured.MetricError, match=problem):
            study.check()
    assert not (tmp_path / "study").exists()
