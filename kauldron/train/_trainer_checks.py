"""Trainer validation, before anything is compiled or written."""

from __future__ import annotations

import inspect
import numbers
import os
import reprlib
from collections.abc import Collection, Mapping
from typing import Any

from kauldron import checkpoints, sharding
from kauldron._base import console, errors
from kauldron.data import utils as data_utils
from kauldron.step import (
    accumulation,
    key_checks,
    mixed_precision,
    rematerialization,
    rngs_lib,
    train_step,
)
from kauldron.train import (
    _key_report,
    _run_description,
    _selection,
    hooks,
    nan_guard,
    setup_utils,
)

DICTS = (
    "train_losses",
    "train_metrics",
    "train_summaries",
    "schedules",
    "hooks",
)
_NEVER_NONE = (
    "seed",
    "grad_accum_steps",
    "log_metrics_every",
    "log_summaries_every",
)
_SMALLEST = {
    "num_train_steps": 0,
    "stop_after_steps": 0,
    "grad_accum_steps": 1,
    "log_metrics_every": 1,
    "log_summaries_every": 1,
}
NUMBERS = ("seed", *_SMALLEST)

# Field -> its class, what to write, and whether `None` is meant.
_PARTS: dict[str, tuple[type, str, bool]] = {
    "rng_streams": (rngs_lib.RngStreams, "kd.train.RngStreams(...)", False),
    "sharding": (sharding.ShardingStrategy, "kd.sharding.ShardingStrategy(...)", False),
    "nan_guard": (nan_guard.NanGuard, "kd.train.NanGuard(...)", True),
    "checkpointer": (checkpoints.BaseCheckpointer, "kd.ckpts.Checkpointer(...)", True),
    "init_transform": (
        checkpoints.InitTransform,
        "kd.ckpts.PartialKauldronLoader(...)",
        True,
    ),
    "trainstep": (train_step.TrainStep, "kd.train.TrainStep(...)", False),
    "remat": (rematerialization.Remat, "kd.train.Remat(...)", True),
    "setup": (setup_utils.Setup, "kd.train.Setup(...)", False),
}
# Field -> what it must have, and what to write; `None` is meant, too.
_ANY_WITH = {
    "exporter": ("export", "kd.export.JaxModelExporter()"),
    "profiler": ("traces", "kd.inspect.Profiler()"),
}


class TrainerError(errors.UserError, ValueError):
    """A run that cannot start as it is described."""


def check_values(trainer: _run_description.RunDescription) -> None:
    """Raises `TrainerError` for a field whose value no trainer can have."""
    _check_datasets(trainer)
    _check_dicts(trainer)
    _check_numbers(trainer)
    _check_parts(trainer)


def _check_datasets(trainer: _run_description.RunDescription) -> None:
    given: dict[str, Any] = {"train_ds": trainer.train_ds}
    if trainer.eval_ds is not None:
        given["eval_ds"] = trainer.eval_ds
    for name, ds in given.items():
        if isinstance(ds, type) or not _has_element_spec(ds):
            kind = (
                f"the class {ds.__name__}"
                if isinstance(ds, type)
                else type(ds).__name__
            )
            raise TrainerError(
                f"`{name}` must be a data pipeline, such as `kd.data.py.DataSource(...)`"
                f": got {kind}."
            )


def _check_dicts(trainer: _run_description.RunDescription) -> None:
    for name in DICTS:
        value = getattr(trainer, name)
        if value is not None and not isinstance(value, Mapping):
            raise TrainerError(
                f"`{name}` must be a dict, as its parts go by their names: got "
                f"{type(value).__name__}. Write `{{'name': ...}}`."
            )
    if "total" in (trainer.train_losses or ()) and len(trainer.train_losses) > 1:
        raise TrainerError(
            "`train_losses['total']` has the name of the sum of all losses, which is "
            "reported as `losses/total`. Give it another name."
        )
    for name, schedule in (trainer.schedules or {}).items():
        if not callable(schedule):
            raise TrainerError(
                f"`schedules[{name!r}]` must be a function of the step, such as "
                f"`optax.constant_schedule(0.1)`: got {schedule!r}."
            )
    for name, hook in (trainer.hooks or {}).items():
        if not isinstance(hook, hooks.Hook):
            raise TrainerError(
                f"`hooks[{name!r}]` must be a `kd.train.Hook`: got "
                f"{type(hook).__name__}."
            )


def _check_numbers(trainer: _run_description.RunDescription) -> None:
    for name in NUMBERS:
        value = getattr(trainer, name)
        is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not is_whole and (value is not None or name in _NEVER_NONE):
            raise TrainerError(
                f"`{name}` must be a whole number: got {value!r} "
                f"({type(value).__name__})."
            )
    if not -(2**63) <= trainer.seed < 2**63:
        raise TrainerError(f"`seed` must fit in 64 bits: got {trainer.seed}.")
    for name, smallest in _SMALLEST.items():
        value = getattr(trainer, name)
        if value is not None and value < smallest:
            raise TrainerError(f"`{name}` must be at least {smallest}: got {value}.")


def _check_parts(trainer: _run_description.RunDescription) -> None:
    optimizer: Any = trainer.optimizer
    if optimizer is not None and not hasattr(optimizer, "update"):
        raise TrainerError(
            "`optimizer` must be an optimizer of optax, such as "
            f"`optax.adam(learning_rate=1e-3)`: got {optimizer!r}."
        )
    categories = trainer.checkify_error_categories
    if not isinstance(categories, frozenset | None):
        raise TrainerError(
            "`checkify_error_categories` must be a set, such as "
            f"`checkify.float_checks`: got {categories!r}."
        )
    if not isinstance(trainer.workdir, str | os.PathLike | None):
        raise TrainerError(
            f"`workdir` must be a path: got {trainer.workdir!r} "
            f"({type(trainer.workdir).__name__})."
        )
    for name, (kind, example, is_optional) in _PARTS.items():
        part = getattr(trainer, name)
        if not isinstance(part, kind) and not (part is None and is_optional):
            raise TrainerError(
                _wrong_part(name, part, example, is_optional=is_optional)
            )
    for name, (method, example) in _ANY_WITH.items():
        part = getattr(trainer, name)
        has_method = hasattr(part, method) and not isinstance(part, type)
        if part is not None and not has_method:
            raise TrainerError(_wrong_part(name, part, example, is_optional=True))


def _wrong_part(name: str, part: Any, example: str, *, is_optional: bool) -> str:
    or_none = ", or None" if is_optional else ""
    found = f"got {reprlib.repr(part)}"
    if isinstance(part, type):
        found = f"got the class `{part.__name__}`, which is to be called"
    return f"`{name}` must be made like `{example}`{or_none}: {found}."


def _has_element_spec(ds: Any) -> bool:
    # Not accessed: that would read the data, or download it.
    missing = object()
    if inspect.getattr_static(ds, "element_spec", missing) is not missing:
        return True
    return hasattr(type(ds), "__getattr__")  # a wrapper, which passes it on


def _check_model(model: Any) -> None:
    """Raises if a model is not a Flax module: a run calls its `init` and `apply`."""
    is_class = isinstance(model, type)
    kind = model if is_class else type(model)
    modules = {f"{c.__module__}.{c.__qualname__}" for c in kind.__mro__}
    what = f"{'the class' if is_class else 'an object of'} `{kind.__name__}`"
    if not is_class and hasattr(model, "apply") and hasattr(model, "init"):
        return
    if any(name.startswith("flax.nnx.") for name in modules):
        raise TrainerError(
            f"`model` must be a `flax.linen` module: got {what}, a `flax.nnx` module, which "
            "a trainer cannot use as it is. Write it in `flax.linen`, derive it from "
            "`kd.contrib.knnx.KdNnxModule`, or wrap it: "
            f"`flax.nnx.bridge.to_linen({kind.__name__}, ...)`, inside of a linen module "
            "whose keys say what it is given."
        )
    if is_class and hasattr(model, "apply"):
        raise TrainerError(
            f"`model` must be a module: got {what}. Call it: `{kind.__name__}(...)`."
        )
    raise TrainerError(
        "`model` must be a `flax.linen` module, such as `kd.nn.Sequential(...)`: got "
        f"{'None' if model is None else what}."
    )


def last_step(trainer: _run_description.RunDescription) -> int:
    """Returns how many updates the run makes in all, see `Trainer.last_step`."""
    num_steps = _num_steps(trainer)
    if trainer.stop_after_steps is not None:
        num_steps = min(num_steps, trainer.stop_after_steps)
    return num_steps


def _num_steps(trainer: _run_description.RunDescription) -> int:
    """Returns how many updates the run makes unless it is stopped after fewer."""
    num_steps = trainer.num_train_steps
    try:
        with data_utils.Naming("cfg.train_ds"):
            num_batches = None if trainer.train_ds.is_endless else len(trainer.train_ds)
    except TypeError:  # finite, but of unknown length
        num_batches = None
    if num_steps is None:
        if num_batches is None:
            raise TrainerError(
                "The run has no end: set `cfg.num_train_steps`, or `num_epochs` of "
                "`cfg.train_ds`."
            )
        num_steps = num_batches
    elif num_batches is not None and num_batches < num_steps:
        raise TrainerError(
            f"`num_train_steps` is {num_steps}, but `train_ds` has only "
            f"{num_batches} batches. Leave out its `num_epochs` to repeat it "
            "endlessly."
        )
    return num_steps


def _tell_of_evaluators_that_never_run(
    trainer: _run_description.RunDescription,
) -> None:
    num_steps = _num_steps(trainer)
    for name, evaluator in trainer.evals.items():
        run = evaluator.run
        if run.fits(num_steps):
            continue
        is_begun = run.should_eval_in_train(0)
        console.warn_alike(
            f"`cfg.evals[{name!r}]` {'runs at step 0 alone' if is_begun else 'never runs'}:"
            f" its `run` is `{run!r}`, and the run has {num_steps} steps. What is chosen by "
            "its metrics (a checkpoint, a trial of a sweep, when to stop) is not chosen by "
            "what was trained. Let it run earlier, or at the end: `kd.evals.Final()`."
        )


def check(trainer: _run_description.RunDescription) -> None:
    """Finds what does not fit together, see `Trainer.check`."""
    _check_model(trainer.model)
    if all(loss is None for loss in trainer.train_losses.values()):
        raise TrainerError(
            "There is no loss to train on: set `cfg.train_losses = {'name': "
            "kd.losses...}`."
        )
    if trainer.trainstep.optimizer is None and trainer.num_train_steps != 0:
        raise TrainerError(
            "There is no optimizer: set `cfg.optimizer`, for instance "
            "`optax.adam(learning_rate=1e-3)`."
        )
    with data_utils.Naming("cfg.train_ds"):
        element_spec = trainer.train_ds.element_spec
    # A dataset of one's own need not be derived from ours.
    _tell_narrowing(element_spec, getattr(trainer.train_ds, "keys_of_the_host", ()))
    batch = data_utils.batch_specs(element_spec)
    whole_batch = data_utils.get_global_elem_spec(batch, trainer.sharding.batch)
    trainer.sharding.check_batch(whole_batch)
    if trainer.grad_accum_steps > 1:
        accumulation.check_divides(
            whole_batch, trainer.grad_accum_steps, trainer.sharding.check_batch
        )
    hooks.trackers(trainer)
    for hook in trainer.hooks.values():
        hook.check(trainer)
    if trainer.nan_guard is not None:
        trainer.nan_guard.check(trainer)
    check_keys(trainer)
    _tell_of_evaluators_that_never_run(trainer)
    for remark in trainer.sharding.remarks(trainer.state_specs):
        console.warn_alike(remark)
    if trainer.precision is None:
        warning = mixed_precision.lost_updates(trainer.state_specs.params)
        if warning is not None:
            console.warn_alike(warning)
    if trainer.grad_accum_steps > 1:
        mixing = accumulation.mixing_parts(
            trainer.train_losses, trainer.state_specs.collections
        )
        if mixing:
            console.warn_alike(
                f"`grad_accum_steps` is {trainer.grad_accum_steps}, and the result "
                f"depends on it: {'; '.join(mixing)}."
            )


def _tell_narrowing(element_spec: Any, known: Collection[str]) -> None:
    names = [
        name
        for name in data_utils.names_of_float64(element_spec)
        if name.partition(".")[0] not in known
    ]
    if names:
        console.log(
            f"{', '.join(f'`batch.{name}`' for name in names)}: float64, which becomes "
            "float32 on the devices, as `kd.data.Cast(key=..., dtype='float32')` would."
        )


def check_keys(trainer: _run_description.RunDescription) -> None:
    """Raises a `CheckError` that lists every key and shape that does not fit."""
    problems = [*_key_report.check(trainer), *_selection.check(trainer)]
    if problems:
        cause = key_checks.cause_of(problems)
        raise _key_report.CheckError(problems) from cause
