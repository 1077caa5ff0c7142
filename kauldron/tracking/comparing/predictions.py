"""What a run has predicted, example by example, and what each column of it is.

An evaluator with `kd.evals.WriteOutputs`, or `kauldron predict`, has written it. Which
column holds logits, labels, and so on follows from the keys of the losses and metrics in
the config of the run, or from the name of the column, unless it is told.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from kauldron import evals
from kauldron._base import errors
from kauldron.tracking.comparing import run_source
from kauldron.tracking.registry import records
from kauldron.workdir import workdirs

OUTPUTS_FOLDER = "outputs"

# Role -> names of columns, or ends of their keys, that are taken for it.
_NAMES = {
    "logits": ("logits", "logit"),
    "labels": ("labels", "label"),
    "preds": ("preds", "pred", "prediction", "predictions", "mean"),
    "targets": ("targets", "target"),
    "scale": ("scale", "std", "stddev", "sigma"),
    "logvar": ("logvar", "log_var"),
    "lower": ("lower", "low"),
    "upper": ("upper", "high"),
    "images": ("images", "image"),
}
ROLES = tuple(_NAMES)
# Fields of losses and metrics that say what a key is.
_FIELDS = ("logits", "labels", "preds", "targets", "logvar", "images")
# The vocabulary of a language model has no confusion matrix.
_MAX_CLASSES = 1000
_PAIRS = (("logits", "labels"), ("preds", "targets"), ("logits", "targets"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predicted values, one row per example.

    Attributes:
      source: The file or folder they are from.
      columns: Name -> values, `[n ...]`.
      roles: Role, such as `logits`, -> name of its column.
    """

    source: str
    columns: Mapping[str, np.ndarray]
    roles: Mapping[str, str]

    def get(self, role: str) -> np.ndarray | None:
        """Returns the column of a role; `None` if there is none."""
        return self.columns[self.roles[role]] if role in self.roles else None

    def classes(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns logits `[m c]` and labels `[m]`, of up to 1,000 classes."""
        logits, labels = self.get("logits"), self.get("labels")
        if logits is None or labels is None or logits.ndim < 2:
            return None
        if not np.issubdtype(labels.dtype, np.integer) and labels.dtype != bool:
            return None
        flat_logits = logits.reshape(-1, logits.shape[-1])
        num_classes = max(logits.shape[-1], int(labels.max(initial=0)) + 1)
        if labels.size != len(flat_logits) or num_classes > _MAX_CLASSES:
            return None
        return flat_logits, labels.reshape(-1).astype(np.int64)

    def values(self, *roles: str) -> list[np.ndarray] | None:
        """Returns columns as `f64[n d]`, if there are all, of one shape."""
        found = [self.get(role) for role in roles]
        arrays = [
            np.asarray(x, np.float64).reshape(len(x), -1)
            for x in found
            if x is not None and x.dtype.kind in "fiub"
        ]
        if len(arrays) < len(roles) or len({x.shape for x in arrays}) != 1:
            return None
        return arrays

    def images(self, role: str = "images") -> np.ndarray | None:
        """Returns pictures of a column, `[n h w 1|3|4]`, if it holds any."""
        images = self.get(role)
        if images is not None and images.ndim == 3 and min(images.shape[1:]) > 3:
            images = images[..., None]
        is_picture = (
            images is not None and images.ndim == 4 and images.shape[-1] in (1, 3, 4)
        )
        return images if is_picture else None


def read(
    run: records.Run, path: str | None = None, roles: Mapping[str, str] | None = None
) -> Predictions | None:
    """Returns what a run has predicted; `None` if it has written nothing.

    Args:
      run: The run.
      path: A file of predictions, or the folder of an evaluator; what is in
        `workdir/outputs` unless given, of the evaluator whose columns say the most.
      roles: Role -> column, where they do not follow from the config.

    Raises:
      ComparingError: If a role or column does not exist.
      OutputsError: If `path` cannot be read.
    """
    config = _config_of(run)
    if path is not None:
        return _with_roles(path, config, roles or {})
    folder = epath.Path(run.workdir) / OUTPUTS_FOLDER
    if not folder.is_dir():
        return None
    found = [
        _with_roles(os.fspath(evaluator), config, roles or {})
        for evaluator in sorted(folder.iterdir())
        if evaluator.is_dir() and any(evaluator.iterdir())
    ]
    return max(found, key=lambda predictions: len(predictions.roles), default=None)


def _config_of(run: records.Run) -> Any:
    try:
        return json.loads((epath.Path(run.workdir) / workdirs.CONFIG_FILE).read_text())
    except (OSError, ValueError):  # made by hand, or damaged: names of columns are left
        return {}


def _with_roles(path: str, config: Any, given: Mapping[str, str]) -> Predictions:
    columns = evals.read_outputs(path)
    keys = {name: name for name in columns}
    for written in _nodes_of(config, "WriteOutputs"):
        mapping = written.get("keys")
        if isinstance(mapping, Mapping) and set(mapping) <= set(columns):
            keys |= {str(name): str(key) for name, key in mapping.items()}
    _check_given(given, columns)
    roles = _from_config(config, {key: name for name, key in keys.items()})
    for role, names in _NAMES.items():
        for column, key in keys.items():
            if role not in roles and {column, key.rpartition(".")[2]} & set(names):
                roles[role] = column
    return Predictions(source=path, columns=columns, roles={**roles, **given})


def _check_given(given: Mapping[str, str], columns: Mapping[str, Any]) -> None:
    for role, column in given.items():
        if role not in ROLES:
            raise run_source.ComparingError(
                f"No predictions are {role!r}.{errors.did_you_mean(role, ROLES)} A "
                f"column can be {', '.join(ROLES)}."
            )
        if column not in columns:
            raise run_source.ComparingError(
                f"No column {column!r} to be the {role}."
                f"{errors.did_you_mean(column, columns)} There are {', '.join(columns)}."
            )


def _from_config(config: Any, column_of: Mapping[str, str]) -> dict[str, str]:
    """Returns roles by the first losses and metrics whose keys are all there."""
    roles: dict[str, str] = {}
    nodes = list(_nodes_of(config, ""))
    for pair in _PAIRS:
        for node in nodes:
            keys = [node.get(field) for field in pair]
            if not set(pair) & set(roles) and all(key in column_of for key in keys):
                for field in _FIELDS:
                    if node.get(field) in column_of:
                        roles[field] = column_of[node[field]]
    return roles


def _nodes_of(node: Any, name: str) -> Iterator[Mapping[str, Any]]:
    """Yields the nodes of a config whose name ends so, those nested too."""
    if isinstance(node, Mapping):
        if str(node.get("__qualname__", "")).endswith(name):
            yield node
        for value in node.values():
            yield from _nodes_of(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _nodes_of(value, name)
