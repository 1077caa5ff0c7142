"""Configs of an app: what of a run's config goes along, and how it is read again."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kauldron import konfig
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.bundles.manifest import Manifest
from kauldron.apps.verbs import _layout
from kauldron.evals import file_prediction as files_lib

# Packages of which `konfig.load` accepts names.
_KNOWN = frozenset(
    [
        "builtins",
        "collections",
        "einops",
        "etils",
        "flax",
        "functools",
        "grain",
        "jax",
        "kauldron",
        "ml_collections",
        "numpy",
        "optax",
        "tensorflow_datasets",
    ]
)
# Of a trainer: what has no part in predicting, and what takes its place.
_OF_TRAINING: Mapping[str, Any] = {
    # A run has data to train on; shapes of batches are in a file.
    "train_ds": {
        "__qualname__": "kauldron.kd:data.py.DataSource",
        "data_source": [0],
        "shuffle": False,
        "batch_size": 1,
    },
    "eval_ds": None,
    "optimizer": None,
    "workdir": None,
    "writer": None,
    "checkpointer": None,
    "init_transform": None,
    "profiler": None,
    "exporter": None,
    "nan_guard": None,
    "num_train_steps": None,
    "stop_after_steps": None,
}
_REMOVED = (
    *("train_losses", "train_metrics", "train_summaries", "schedules", "hooks"),
    *("setup", "xm_job", "trainstep", "aux", "checkify_error_categories"),
)


def without_references(cfg: Any) -> Any:
    """Returns a copy of a config in which references have become values."""
    return konfig.ConfigDict(json.loads(cfg.to_json()))


def without_training(cfg: Any, *, keep_eval: str | None = None) -> Any:
    """Returns a copy of a run's config that builds a model, and one evaluator at most."""
    pruned = without_references(cfg)
    evaluator = pruned.evals[keep_eval] if keep_eval is not None else None
    eval_ds, metrics = pruned.get("eval_ds"), pruned.get("train_metrics")
    for name, value in _OF_TRAINING.items():
        pruned[name] = copy.deepcopy(value)
    for name in _REMOVED:
        if name in pruned:
            del pruned[name]
    if evaluator is not None:
        pruned.eval_ds = eval_ds
        if "metrics" not in evaluator and metrics:
            evaluator["metrics"] = metrics
    pruned.evals = {} if evaluator is None else {keep_eval: evaluator}
    return pruned


def write(cfg: Any, path: pathlib.Path) -> None:
    """Writes a config as JSON."""
    path.write_text(f"{cfg.to_json(indent=1)}\n", encoding="utf-8")


def read(
    path: pathlib.Path, overrides: Mapping[str, Any], trusted: Sequence[str] = ()
) -> Any:
    """Returns a config of an app, with changes; it may name trusted packages only.

    Raises:
      ConfigError: If it cannot be read, or has no such field.
    """
    cfg = konfig.load_config_file(path, overrides=dict(overrides), trusted=trusted)
    _place_assets(cfg, path.parent / _layout.ASSETS)
    return cfg


def foreign_packages(path: pathlib.Path) -> tuple[str, ...]:
    """Returns the packages, outside of those known, that a config of an app names."""
    if not path.exists():
        return ()
    names = set(_qualnames(json.loads(path.read_text("utf-8"))))
    roots = {name.replace(":", ".").partition(".")[0] for name in names}
    return tuple(sorted(roots - _KNOWN))


def trust(folder: pathlib.Path, manifest: Manifest, *, trust_code: bool) -> list[str]:
    """Returns the packages that configs of an app may name besides those known.

    With trust, the sources that come with the app can be imported.

    Raises:
      AppError: If the app needs code that is not trusted.
    """
    needs = manifest.trusted
    if not trust_code:
        if needs:
            raise AppError(
                f"The app {manifest.name!r} runs code of {', '.join(map(repr, needs))}, "
                "outside of Kauldron. Look at it, and trust it with `--trust_code` or "
                "`App(path, trust_code=True)`."
            )
        return []
    code = folder / _layout.CODE
    if code.is_dir() and os.fspath(code) not in sys.path:
        sys.path.insert(0, os.fspath(code))
    return [*needs, *manifest.trusted_to_train]


def _qualnames(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key in ("__qualname__", "__const__"):
            if isinstance(value.get(key), str):
                yield value[key]
        for x in value.values():
            yield from _qualnames(x)
    elif isinstance(value, list):
        for x in value:
            yield from _qualnames(x)


def _place_assets(value: Any, folder: pathlib.Path) -> None:
    """Turns the paths of assets into those of their files, in place."""
    if isinstance(value, konfig.ConfigDict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return
    for key, x in items:
        if isinstance(x, str) and x.startswith(files_lib.ASSETS):
            value[key] = os.fspath(folder / x.removeprefix(files_lib.ASSETS))
        else:
            _place_assets(x, folder)
