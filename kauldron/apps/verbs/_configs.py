"""Configs of an app: what of a run's config goes along, and how it is read again."""

from __future__ import annotations

import copy
import functools
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kauldron import konfig
from kauldron.apps.bundles.manifest import Manifest
from kauldron.apps.verbs import _layout

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
    _put_values(pruned)
    return pruned


def _put_values(node: Any) -> None:
    """Replaces calls of foreign functions that give a number or a text by what they give.

    An app then needs no code for `vocab_size=my_data.vocab_size()`.
    """
    if isinstance(node, konfig.ConfigDict):
        items = list(node.items())
    elif isinstance(node, list):
        items = list(enumerate(node))
    else:
        return
    for key, child in items:
        if isinstance(child, konfig.ConfigDict) and _is_foreign(child):
            value = konfig.resolve(child)
            if isinstance(value, bool | int | float | str | None):
                if isinstance(node, konfig.ConfigDict):
                    del node[key]  # a call may not become a number
                node[key] = value
                continue
        _put_values(child)


def _is_foreign(node: Any) -> bool:
    name = str(node.get("__qualname__", ""))
    return bool(name) and _root(name) not in _KNOWN


def _root(qualname: str) -> str:
    return qualname.replace(":", ".").partition(".")[0]


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
    return konfig.load_config_file(path, overrides=dict(overrides), trusted=trusted)


def foreign_packages(
    path: pathlib.Path, *, without: Sequence[str] = ()
) -> tuple[str, ...]:
    """Returns the packages, outside of those known, that a config of an app names.

    Args:
      path: The config.
      without: Paths of fields that do not count.
    """
    if not path.exists():
        return ()
    cfg = konfig.ConfigDict(json.loads(path.read_text("utf-8")))
    for field in without:
        put(cfg, field, "")
    return tuple(sorted(_foreign_roots(cfg)))


def take_foreign(node: Any, names: Sequence[str]) -> Any:
    """Takes what names foreign packages out of some fields, name by name.

    Returns:
      The same fields, with what was taken.
    """
    taken = konfig.ConfigDict()
    for name in names:
        group = node.get(name)
        if isinstance(group, konfig.ConfigDict) and "__qualname__" not in group:
            foreign = [key for key, x in group.items() if _foreign_roots(x)]
            if foreign:
                taken[name] = {key: group[key] for key in foreign}
            for key in foreign:
                del group[key]
    return taken


def _foreign_roots(node: Any) -> set[str]:
    if not isinstance(node, konfig.ConfigDict):
        return set()
    names = set(_qualnames(json.loads(node.to_json())))
    return set(map(_root, names)) - _KNOWN


def put(cfg: Any, path: str, value: Any) -> None:
    """Sets a field, `train_ds.path`, whatever it was: a text takes the place of a call."""
    *parents, field = path.split(".")
    node = functools.reduce(lambda parent, key: parent[key], parents, cfg)
    del node[field]
    node[field] = value


def trust(folder: pathlib.Path, manifest: Manifest, *, trust_code: bool) -> list[str]:
    """Returns the packages that configs of an app may name besides those known.

    With trust, the sources that come with the app can be imported.

    Raises:
      AppError: If the app needs code that is not trusted.
    """
    if not trust_code:
        manifest.check_trusted("infer")
        return []
    code = folder / _layout.CODE
    if code.is_dir() and os.fspath(code) not in sys.path:
        sys.path.insert(0, os.fspath(code))
    return [x for verb in manifest.verbs for x in manifest.foreign_code(verb)]


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
