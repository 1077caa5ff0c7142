"""Trials: their names, where they come from, and how the command line describes them."""

from __future__ import annotations

import json

import pytest

from kauldron import konfig, launch
from tests.launch import fake_runs


def _names(trials, known=()) -> list[str]:
    sweep = launch.Sweep(cfg="c.py", workdir="runs/s", trials=trials)
    return [trial.name for trial in sweep.plan(known)]


def test_names_say_what_differs_by_the_end_of_each_path():
    trials = [{"optimizer.learning_rate": 1e-3, "model.layers[0].width": 8}]
    assert _names(trials) == ["learning_rate=0.001,width=8"]
    assert _names([{"layers[1]": 2, "a['b.c']": "x"}]) == ["layers.1=2,b.c=x"]
    assert _names([{}]) == ["base"]


def test_paths_that_end_alike_are_named_in_full():
    assert _names([{"encoder.width": 1, "decoder.width": 2}]) == [
        "encoder.width=1,decoder.width=2"
    ]


@pytest.mark.parametrize(
    ("value", "start"),
    [
        ("a/b c", "x=a-b-c-"),
        ([1, 2], "x=1-2-"),
        ("../up", "x=up-"),
        (konfig.ConfigDict({"__qualname__": "optax:adam", "b1": 0.8}), "x=adam-"),
        ("y" * 300, "x=yyy"),
    ],
)
def test_a_value_that_cannot_be_in_a_name_is_told_apart_by_a_hash(value, start):
    (name,) = _names([{"x": value}])
    assert name.startswith(start)
    assert len(name) <= 100
    assert set(name) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-=,"
    )
    assert _names([{"x": value}]) == [name]


def test_names_that_a_file_system_may_confuse_are_told_apart():
    first, second = _names([{"x": "A"}, {"x": "a"}])
    assert first == "x=A"
    assert second.startswith("x=a-")


def test_trials_that_set_the_same_are_one_whatever_the_order():
    assert _names([{"x": 1, "y": 2}, {"y": 2, "x": 1}, {"x": 1, "y": 3}]) == [
        "x=1,y=2",
        "x=1,y=3",
    ]


def test_names_stay_when_values_and_paths_are_added():
    before = launch.Sweep(cfg="c.py", workdir="s", trials=[{"a.width": 1}])
    labels, known = before.labels(), before.plan()
    more = launch.Sweep(
        cfg="c.py", workdir="s", trials=[{"a.width": 1}, {"b.width": 2, "a.width": 1}]
    )
    assert [t.name for t in more.plan(known, more.labels(labels))] == [
        "width=1",
        "b.width=2,width=1",
    ]


def _request(tmp_path, *flags: str, **kwargs) -> launch.Sweep:
    return launch.SweepRequest(
        cfg=fake_runs.write(tmp_path),
        workdir=str(tmp_path / "sweep"),
        overrides=konfig.parse_overrides(flags),
        **kwargs,
    ).to_sweep()


def test_trials_are_the_product_of_functions_a_file_and_flags(tmp_path):
    file = tmp_path / "trials.jsonl"
    file.write_text('{"seed": 1}\n\n{"seed": 2}\n')
    sweep = _request(tmp_path, "--cfg.aux.width={7,8}", sweep="act", trials=str(file))
    assert sweep.trials[:3] == [
        {"aux.act": "relu", "seed": 1, "aux.width": 7},
        {"aux.act": "relu", "seed": 1, "aux.width": 8},
        {"aux.act": "relu", "seed": 2, "aux.width": 7},
    ]
    assert len(sweep.trials) == 8
    assert sweep.trials[-1]["aux.rate"] == 0.25


def test_the_default_function_is_used_if_nothing_else_differs(tmp_path):
    assert _request(tmp_path).trials == [{"aux.width": 1}, {"aux.width": 2}]
    assert _request(tmp_path, "--cfg.seed={5}").trials == [{"seed": 5}]


def test_what_the_command_line_sets_for_all_wins_over_functions(tmp_path):
    sweep = _request(tmp_path, "--cfg.aux.rate=0.75", sweep="act")
    assert [trial.name for trial in sweep.plan()] == ["act=relu", "act=gelu"]
    assert list(sweep.flags) == ["--cfg.aux.rate=0.75"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no trial"),
        ("[]", "holds no trial"),
        ('[{"seed": 1}, 2]', "trial 2: a trial is a dict of paths and values"),
        ('{"seed": 1}\n{"seed": }\n', "line 2, is not JSON"),
        ("[1", "is not JSON"),
    ],
)
def test_a_file_without_trials_is_told(tmp_path, text, message):
    file = tmp_path / "trials.json"
    file.write_text(text)
    with pytest.raises(launch.LaunchError) as error:
        _request(tmp_path, trials=str(file))
    assert message in str(error.value)


def test_requests_that_give_no_sweep_are_told(tmp_path):
    with pytest.raises(launch.LaunchError, match=r"Did you mean 'trials.json'"):
        (tmp_path / "trials.json").write_text(json.dumps([{}]))
        _request(tmp_path, trials=str(tmp_path / "trails.json"))
    with pytest.raises(konfig.ConfigError, match=r"Did you mean 'act'"):
        _request(tmp_path, sweep="actt")
    with pytest.raises(launch.LaunchError, match=r"'nothing' of .* yields nothing"):
        _request(tmp_path, sweep="nothing")
    with pytest.raises(launch.LaunchError, match=r"give `--workdir=runs/sweep`"):
        _request(tmp_path, "--cfg.workdir=x", "--cfg.seed={1,2}")
    (tmp_path / "plain.py").write_text("def get_config():\n    return {'seed': 1}\n")
    with pytest.raises(launch.LaunchError, match="Nothing differs between the runs"):
        launch.SweepRequest(
            cfg=str(tmp_path / "plain.py"), workdir="s", overrides=()
        ).to_sweep()


def test_backends_are_named_or_called_or_in_the_config(tmp_path):
    cfg = konfig.ConfigDict({"xm_job": {"executor": None}})
    assert launch.choose_backend(None, cfg, parallel=3) == launch.Local(parallel=3)
    assert launch.choose_backend("local", cfg, parallel=None) == launch.Local()
    called = launch.choose_backend("Local(parallel=4, warm=False)", cfg, parallel=5)
    assert called == launch.Local(parallel=5, warm=False)
    with konfig.imports():
        from kauldron import kd
    cfg.xm_job.executor = kd.launch.Commands(file="lines.sh")
    assert launch.choose_backend(None, cfg) == launch.Commands(file="lines.sh")
    with pytest.raises(launch.LaunchError, match=r"Did you mean 'local'"):
        launch.choose_backend("locl", cfg)
    with pytest.raises(launch.LaunchError, match="`--parallel` is not for"):
        launch.choose_backend("commands", cfg, parallel=2)
    with pytest.raises(launch.LaunchError, match="`parallel` must be at least 1"):
        launch.Local(parallel=0)


def test_devices_are_shared_out_among_the_tasks(monkeypatch):
    from kauldron.launch import _devices

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert _devices.variables(0, None) == {}
    assert _devices.variables(1, 2) == {"CUDA_VISIBLE_DEVICES": "6,7"}
    launch.Local(parallel=2, devices_per_trial=2).check()
    with pytest.raises(
        launch.LaunchError, match=r"this machine has 4\. Set `parallel=1`"
    ):
        launch.Local(parallel=2, devices_per_trial=3).check()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert _devices.variables(1, 2) == {"JAX_NUM_CPU_DEVICES": "2"}


def test_the_metric_is_the_one_given_else_that_of_the_checkpointer(tmp_path):
    cfg = konfig.ConfigDict(
        {"checkpointer": {"best_metric_path": "eval.loss", "best_mode": "min"}}
    )
    assert launch.chosen_metric(cfg, None, None) == ("eval.loss", "min")
    given = konfig.ConfigDict({"evals": {"eval": {}}})
    assert launch.chosen_metric(given, "eval.accuracy", None) == ("eval.accuracy", None)
    with pytest.raises(ValueError, match=r"Did you mean 'eval'\?"):
        launch.chosen_metric(given, "evl.accuracy", None)
    assert launch.chosen_metric(konfig.ConfigDict({}), None, None) == (None, None)


def test_without_a_choice_a_metric_of_an_evaluator_comes_first_and_nan_is_never_best():
    from kauldron.workdir import measured

    train = {"step": 0, "collection": "train", "metrics/accuracy": 0.9}
    losses = {"step": 0, "collection": "test", "losses/total": 2.0}
    rows = [train, losses]
    chosen = measured.choose([rows], None, None)
    assert (chosen.key, chosen.mode) == ("test.total", "min")
    more = [{**losses, "step": 1, "metrics/accuracy": 0.5}]
    chosen = measured.choose([rows, more], None, None)
    assert (chosen.key, chosen.mode) == ("test.accuracy", "max")
    assert measured.choose([[]], None, None) is None
    # Before the first update, nothing that differs between trials shows.
    assert measured.choose([[train]], None, None) is None
    later = {**train, "step": 4, "metrics/accuracy": 0.7}
    chosen = measured.choose([[train, later]], None, None)
    assert chosen.key == "train.accuracy"
    assert chosen.best_of([train, later]) == (4, 0.7)
    chosen = measured.choose([rows, more], None, None)
    values = [("NaN", 0), (0.5, 1), (float("nan"), 2), (0.5, 3)]
    steps = [{**losses, "metrics/accuracy": v, "step": s} for v, s in values]
    assert chosen.best_of(steps) == (1, 0.5)
    with pytest.raises(measured.MetricError, match=r"Did you mean 'test.accuracy'"):
        measured.choose([rows, more], "test.acuracy", None)
