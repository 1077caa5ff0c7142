"""What is proposed: a function of the trials so far, and better than chance."""

from __future__ import annotations

import math

import pytest

from kauldron import kd
from kauldron.tracking.tuning import _optuna, _space
from kauldron.tracking.tuning._history import StudyTrial

tune = kd.tracking.tune

_SPACE = _space.Space(
    tune.parse_space(
        ["x=float(-2,2)", "rate=float(1e-4,1e-1,log)", "act=choice(relu,gelu)"]
    )
)


def _trial(number, chosen, value, **fields) -> StudyTrial:
    return StudyTrial(
        **{
            "number": number,
            "name": str(number),
            "workdir": "",
            "overrides": _space.to_texts(chosen),
            "state": "done",
            "values": {10: value},
            "best": value,
            "best_step": 10,
            **fields,
        }
    )


def _loss(chosen) -> float:
    """Least, 0, at x = 0.5 and a rate of 0.01, with gelu."""
    distance = (chosen["x"] - 0.5) ** 2 + (math.log10(chosen["rate"]) + 2) ** 2
    return distance + (chosen["act"] == "relu")


def _run(num_trials: int, sampler: str, seed: int = 0, trials=()) -> list[StudyTrial]:
    trials = list(trials)
    while len(trials) < num_trials:
        chosen = _optuna.propose(trials, _SPACE, "min", sampler=sampler, seed=seed)
        assert chosen is not None
        trials.append(_trial(len(trials), chosen, _loss(chosen)))
    return trials


def test_what_is_proposed_follows_from_the_trials_alone():
    whole = _run(14, "tpe")
    assert _run(14, "tpe", trials=whole[:11]) == whole
    assert _run(3, "tpe", seed=1) != whole[:3]
    # Not what a study of the next seed begins with.
    firsts = [_run(2, "random", seed=seed)[1].overrides for seed in (0, 1)]
    assert _run(1, "random", seed=1)[0].overrides not in firsts


def test_what_is_proposed_becomes_better_than_chance():
    best = {
        sampler: [min(t.best for t in _run(25, sampler, seed)) for seed in range(3)]
        for sampler in ("tpe", "random")
    }
    assert sum(best["tpe"]) < 0.5 * sum(best["random"])
    assert max(best["tpe"]) < 0.3  # chance: about 0.4


@pytest.mark.parametrize("sampler", ["tpe", "random", "bruteforce"])
def test_each_combination_is_tried_once_and_then_there_is_none(sampler):
    space = _space.Space(tune.parse_space(["n=int(1,3)", "act=choice(a,b)"]))
    trials = []
    while True:
        chosen = _optuna.propose(trials, space, "max", sampler=sampler, seed=0)
        if chosen is None:
            break
        trials.append(_trial(len(trials), chosen, 0.5))
    assert len({trial.key for trial in trials}) == len(trials) == 6


def test_trials_at_work_are_not_proposed_again():
    space = _space.Space(tune.parse_space(["n=int(1,12)"]))
    trials = []
    for number in range(12):
        chosen = _optuna.propose(trials, space, "max", sampler="tpe", seed=0)
        assert chosen is not None
        running = {"state": "running", "best": None, "values": {}}
        trials.append(_trial(number, chosen, 0.0, **running))
    assert len({trial.key for trial in trials}) == 12


def test_trials_of_each_state_are_what_optuna_calls_them():
    chosen = {"x": 0.5, "rate": 0.01, "act": "gelu"}
    trials = [
        _trial(0, chosen, 0.1),
        _trial(1, chosen, 0.2, state="pruned"),
        _trial(2, chosen, math.nan, state="failed", best=None),
        _trial(3, chosen, 0.4, state="running"),
        _trial(4, {"x": 9}, 0.5),  # somebody else's
    ]
    study = _optuna.to_study(trials, _SPACE, "min")
    names = [trial.state.name for trial in study.trials]
    assert names == ["COMPLETE", "PRUNED", "FAIL", "RUNNING", "FAIL"]
    assert study.direction.name == "MINIMIZE"
    assert study.best_trial.number == 0
    assert study.trials[0].params == chosen
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("samplers", "tep", "no sampler 'tep'. Did you mean 'tpe'"),
        ("samplers", "CmaEsSampler()", "no sampler 'CmaEsSampler'"),
        ("pruners", "mediann", "Did you mean 'median'"),
        ("pruners", "MedianPruner(n_startup=3)", "no argument 'n_startup'"),
        ("pruners", "MedianPruner(n_startup_trials=-1)", "cannot be negative"),
        ("pruners", "MedianPruner(open('x'))", "no pruner 'open'"),
        ("pruners", "MedianPruner(", "--pruner=MedianPruner"),
        ("pruners", "os.system", "a name, or a call"),
    ],
)
def test_what_optuna_does_not_have_is_told_and_nothing_else_is_called(
    kind, text, message
):
    with pytest.raises(tune.StudyError) as error:
        _optuna.make(kind, text)
    assert message in str(error.value)


@pytest.mark.parametrize("name", [*_optuna.SAMPLERS, *_optuna.PRUNERS])
def test_each_name_makes_what_it_says(name):
    if name == "gp":
        pytest.skip("needs torch")
    kind = "samplers" if name in _optuna.SAMPLERS else "pruners"
    text = "ThresholdPruner(lower=0.1)" if name == "threshold" else name
    made = _optuna.make(kind, text, seed=0)
    assert name in type(made).__name__.lower() or name in ("none", "halving")


def test_arguments_reach_what_is_made():
    made = _optuna.make("pruners", "PatientPruner(MedianPruner(3), patience=2)")
    assert made._patience == 2
    assert made._wrapped_pruner._n_startup_trials == 3


def _course(number, *values, state="done") -> StudyTrial:
    steps = {10 * (i + 1): value for i, value in enumerate(values)}
    chosen = {"x": 0.1 * number, "rate": 0.01, "act": "gelu"}
    best = min(values) if state == "done" else None
    return _trial(number, chosen, 0, values=steps, best=best, state=state)


def test_median_pruner_gives_up_what_is_worse_than_half_of_the_others():
    others = [_course(i, 5.0 - i, 3.0 - i) for i in range(3)]  # at 10: 5, 4, 3
    pruner = "MedianPruner(n_startup_trials=3)"
    for value, is_bad in ((4.5, True), (3.5, False), (math.nan, True)):
        trials = [*others, _course(3, value, state="running")]
        assert _optuna.judge(trials, 3, _SPACE, "min", pruner=pruner)[0] is is_bad
        # The other way round, where larger values are better.
        if value == value:
            judged, _ = _optuna.judge(trials, 3, _SPACE, "max", pruner=pruner)
            assert judged is (value < 4)


def test_halving_keeps_a_half_of_those_that_have_come_as_far():
    pruner = "SuccessiveHalvingPruner(min_resource=10, reduction_factor=2)"
    trials, kept = [], []
    for number, value in enumerate([4.0, 3.0, 5.0, 2.0]):
        trials.append(_course(number, value, state="running"))
        is_bad, attrs = _optuna.judge(trials, number, _SPACE, "min", pruner=pruner)
        trials[-1] = _trial(
            number, {"x": 0.1 * number, "rate": 0.01, "act": "gelu"}, value, attrs=attrs
        )
        kept.append(not is_bad)
    # The best of those so far goes on: 4 is alone, 3 < 4, 5 is the worst, 2 the best.
    assert kept == [False, True, False, True] or kept == [True, True, False, True]
