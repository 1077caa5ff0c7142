"""Names of metrics that the runs of a config will write, as far as its text says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kauldron import konfig
from kauldron._base import errors
from kauldron.workdir import measured, ranking

# What it measures is what its fields say; others may measure anything.
_EVALUATOR = "kauldron.kd:evals.Evaluator"
_EVERY_N_STEPS = "kauldron.kd:evals.EveryNSteps"


def of_config(cfg: konfig.ConfigDict) -> dict[str, list[str] | None]:
    """Returns what each collection will have, by names as in `metrics.jsonl`.

    Returns:
      Collection -> names; `None` where that is known only when it has run.
    """
    found: dict[str, list[str] | None] = {
        name: _of_evaluator(evaluator, cfg)
        for name, evaluator in dict(cfg.get("evals") or {}).items()
    }
    found[measured.TRAIN] = _names(cfg.get("train_losses"), cfg.get("train_metrics"))
    return found


def _of_evaluator(evaluator: Any, cfg: konfig.ConfigDict) -> list[str] | None:
    if not isinstance(evaluator, Mapping | konfig.ConfigDict):
        return None
    if evaluator.get("__qualname__") != _EVALUATOR:
        return None
    losses = evaluator.get("losses", cfg.get("train_losses"))
    return _names(losses, evaluator.get("metrics", cfg.get("train_metrics")))


def _names(losses: Any, metrics: Any) -> list[str] | None:
    names = ["losses/total"]
    for prefix, parts in (("losses", losses), ("metrics", metrics)):
        if parts is None:
            continue
        if not isinstance(parts, Mapping | konfig.ConfigDict):
            return None
        if "__qualname__" in parts:
            return None
        names += [f"{prefix}/{name}" for name in parts]
    return names


def chosen_metric(
    cfg: konfig.ConfigDict, metric: str | None, mode: str | None
) -> tuple[str | None, str | None]:
    """Returns what runs are compared by, and its mode: as given, or as the checkpointer.

    Raises:
      MetricError: If the runs will not measure it, or there is no such mode.
    """
    measured.to_mode(mode)
    if metric is not None:
        check(cfg, metric, mode)
        return metric, mode
    checkpointer = cfg.get("checkpointer") or {}
    if not checkpointer.get("best_metric_path"):
        return None, mode
    default = checkpointer.get("best_mode") or "max"
    return checkpointer["best_metric_path"], mode or default


def check(cfg: konfig.ConfigDict, metric: str, mode: str | None) -> ranking.Mode:
    """Makes sure that the runs of a config will measure something; returns its mode.

    Args:
      cfg: The config.
      metric: `'eval.accuracy'`: evaluator, or `train`, and name.
      mode: As given; what the name suggests unless given.

    Raises:
      MetricError: If they will not, as far as that is known.
    """
    given = measured.to_mode(mode)
    collections = of_config(cfg)
    collection, _, name = metric.partition(".")
    if collection not in collections or not name:
        listed = ", ".join(f"'{known}.NAME'" for known in collections)
        near = errors.did_you_mean(collection, collections) if name else ""
        raise measured.MetricError(
            f"No run will measure {metric!r}: a metric is one of {listed}.{near}"
        )
    names = collections[collection]
    if names is None:
        return given or measured.guessed_mode(name)
    known = {measured.short_key(collection, full): full for full in names}
    known |= {f"{collection}.{full}": full for full in names}
    # A metric may have several numbers: `metrics/report/recall`.
    parts = [full for full in names if name.startswith(f"{full}/")]
    if metric not in known and not parts:
        short = [key for key in known if "/" not in key]
        near = errors.did_you_mean(metric, short)
        raise measured.MetricError(
            f"No run will measure {metric!r}.{near} {collection!r} measures "
            f"{', '.join(short)}."
        )
    return given or measured.guessed_mode(known.get(metric, name))


def check_schedule(
    cfg: konfig.ConfigDict, metric: str, *, differing: Iterable[str] = ()
) -> None:
    """Makes sure that an evaluator measures after the first update, if that is known.

    Args:
      cfg: The config.
      metric: `'eval.accuracy'`.
      differing: Paths whose values are not those of the config.

    Raises:
      MetricError: If nothing after step 0 measures the metric.
    """
    collection = metric.partition(".")[0]
    evaluator = (cfg.get("evals") or {}).get(collection) or {}
    run = evaluator.get("run") or {}
    is_plain = isinstance(run, Mapping | konfig.ConfigDict)
    if not is_plain or run.get("__qualname__") != _EVERY_N_STEPS:
        return
    where = f"evals.{collection}"
    if any(path == "num_train_steps" or path.startswith(where) for path in differing):
        return
    interval, num_steps = run.get("n", run.get("0")), cfg.get("num_train_steps")
    if not isinstance(interval, int) or not isinstance(num_steps, int):
        return
    if interval > num_steps:
        raise measured.MetricError(
            f"No run will measure {metric!r} after step 0: {collection!r} runs every "
            f"{interval} steps, and a run has {num_steps}. Give "
            f"`--cfg.{where}.run.n={num_steps}` or less, or more `--cfg.num_train_steps`."
        )
