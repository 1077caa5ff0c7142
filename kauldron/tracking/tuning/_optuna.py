"""Optuna as a function: from the trials so far to what is tried, or given up, next.

Nothing of Optuna is kept: each question makes a study in memory of what the trials have
given. So there is no second account that can differ from the workdirs, and a study that
was killed goes on as if it had not been.
"""

from __future__ import annotations

import ast
import inspect
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from kauldron._base import errors
from kauldron.tracking.tuning import _space, _values
from kauldron.tracking.tuning._history import StudyTrial
from kauldron.tracking.tuning._values import StudyError
from kauldron.workdir import ranking

_NAME = "study"  # part of what some pruners decide by
_MAX_REPEATS = 20

# What they propose, or decide, follows from the trials alone. The others keep a state.
SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "gp": "GPSampler",
    "bruteforce": "BruteForceSampler",
}
PRUNERS = {
    "none": "NopPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "patient": "PatientPruner",
    "threshold": "ThresholdPruner",
}

_Kind = Literal["samplers", "pruners"]


def make(kind: _Kind, text: str, *, seed: int | None = None) -> Any:
    """Returns a sampler or a pruner of a name, or of a call with numbers.

    Args:
      kind: Which of the two.
      text: `'median'`, `'MedianPruner(n_startup_trials=3)'`.
      seed: Of what is random, if it is.

    Raises:
      StudyError: If there is none, or it cannot be made like that.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
        return _build(kind, node, seed)
    except (SyntaxError, ValueError, TypeError) as e:
        if isinstance(e, StudyError):
            raise
        detail = getattr(e, "msg", str(e))
        raise StudyError(f"`--{kind[:-1]}={text}`: {detail}.") from e


def _build(kind: _Kind, node: ast.AST, seed: int | None) -> Any:
    names = SAMPLERS if kind == "samplers" else PRUNERS
    call = node if isinstance(node, ast.Call) else None
    function = call.func if call else node
    if not isinstance(function, ast.Name):
        raise ValueError("a name, or a call such as `MedianPruner(n_startup_trials=3)`")
    name = names.get(function.id.lower(), function.id)
    if name not in names.values():
        known = ", ".join(names)
        near = errors.did_you_mean(function.id.lower(), names)
        raise StudyError(
            f"There is no {kind[:-1]} {function.id!r}.{near} There are {known}; or a "
            f"class of Optuna with arguments, such as `{next(iter(names.values()))}()`."
        )
    built = getattr(_values.load_optuna(f"optuna.{kind}"), name)
    known = inspect.signature(built).parameters
    args = [_argument(kind, arg) for arg in (call.args if call else [])]
    keywords = call.keywords if call else []
    kwargs = {str(k.arg): _argument(kind, k.value) for k in keywords}
    for given in kwargs:
        if given not in known:
            near = errors.did_you_mean(given, known)
            raise StudyError(f"`{name}` has no argument {given!r}.{near}")
    if seed is not None and "seed" in known:
        kwargs["seed"] = seed
    if name == "PatientPruner" and not args and "wrapped_pruner" not in kwargs:
        kwargs |= {"wrapped_pruner": None, "patience": kwargs.get("patience", 2)}
    if name == "PercentilePruner" and not args and "percentile" not in kwargs:
        kwargs["percentile"] = 25.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is experimental
        return built(*args, **kwargs)


def _argument(kind: _Kind, node: ast.AST) -> Any:
    is_call = isinstance(node, ast.Call)
    return _build(kind, node, None) if is_call else ast.literal_eval(node)


def to_study(
    trials: Iterable[StudyTrial],
    space: _space.Space,
    mode: ranking.Mode,
    *,
    sampler: Any = None,
    pruner: Any = None,
) -> Any:
    """Returns a study of Optuna, in memory, with the trials of a study.

    Args:
      trials: The trials.
      space: What differs between them.
      mode: Which value is the best.
      sampler: Of Optuna.
      pruner: Of Optuna.
    """
    optuna = _values.load_optuna()
    made = optuna.create_study(
        study_name=_NAME,
        direction="maximize" if mode == "max" else "minimize",
        sampler=sampler or optuna.samplers.RandomSampler(),
        pruner=pruner or optuna.pruners.NopPruner(),
    )
    for trial in trials:
        made.add_trial(_to_optuna(optuna, trial, space))
    return made


def _to_optuna(optuna: Any, trial: StudyTrial, space: _space.Space) -> Any:
    states = optuna.trial.TrialState
    state = {
        "done": states.COMPLETE,
        "pruned": states.PRUNED,
        "failed": states.FAIL,
        "running": states.RUNNING,
    }[trial.state]
    known = space.params(trial.overrides)
    if known is None:  # somebody else's: it has a number, and says nothing
        state, known = states.FAIL, ({}, {})
    params, distributions = known
    return optuna.trial.create_trial(
        state=state,
        value=trial.best if state in (states.COMPLETE, states.PRUNED) else None,
        params=params,
        distributions=distributions,
        intermediate_values=dict(trial.values),
        system_attrs=dict(trial.attrs),
    )


def propose(
    trials: list[StudyTrial],
    space: _space.Space,
    mode: ranking.Mode,
    *,
    sampler: str,
    seed: int,
) -> dict[str, Any] | None:
    """Returns path -> value of another trial, one that was not tried; `None` if all were.

    The same trials and seed give the same.

    Args:
      trials: Those so far.
      space: What may differ.
      mode: Which value is the best.
      sampler: Name or call.
      seed: Of the study.
    """
    number = len(trials)
    # Not `seed + number`, which another study begins with.
    seed = zlib.crc32(f"{seed}/{number}".encode())
    tried = {trial.key for trial in trials}
    if space.count is None or len(tried) < space.count:
        study = to_study(
            trials, space, mode, sampler=make("samplers", sampler, seed=seed)
        )
        for _ in range(_MAX_REPEATS):
            chosen = space.suggest(study.ask())
            if _space.key(chosen) not in tried:
                return chosen
    return space.untried(tried, seed)


def judge(
    trials: list[StudyTrial],
    number: int,
    space: _space.Space,
    mode: ranking.Mode,
    *,
    pruner: str,
) -> tuple[bool, Mapping[str, Any]]:
    """Returns whether a trial that runs is to be given up, and what the pruner keeps.

    Args:
      trials: All trials.
      number: Of the trial, whose last value is judged.
      space: What differs between them.
      mode: Which value is the best.
      pruner: Name or call.
    """
    made = make("pruners", pruner)
    study = to_study(trials, space, mode, pruner=made)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, where nothing but NaN was measured
        is_bad = made.prune(study, study.trials[number])
    return bool(is_bad), study.trials[number].system_attrs


def importance(study: Any, paths: Sequence[str]) -> dict[str, float]:
    """Returns path -> its share in whether a trial is among the best, by PED-ANOVA.

    Reference: Watanabe et al. 2023, PED-ANOVA: Efficiently Quantifying Hyperparameter
    Importance in Arbitrary Subspaces, arXiv:2304.10255, as Optuna has it.
    """
    module = _values.load_optuna("optuna.importance")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is experimental
        return dict(module.get_param_importances(study, params=list(paths)))
