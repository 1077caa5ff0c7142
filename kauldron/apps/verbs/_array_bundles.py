"""Apps of models of arrays: the exported program, preprocessing, metrics."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from kauldron import export, konfig, kontext, runs
from kauldron import step as step_lib
from kauldron._base import console
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.verbs import _configs, _layout, _made, _rows
from kauldron.evals import file_prediction as files_lib

_PIXELS = (1, 3, 4)


def write(
    folder: pathlib.Path,
    trainer: Any,
    cfg: Any,
    *,
    step: int | str | None,
    members: Sequence[int | str],
    eval_name: str | None,
    has_dropout: bool,
    first_step: int,
) -> _made.Made:
    """Writes what predicts; returns what it is.

    Args:
      folder: Of the app.
      trainer: The run.
      cfg: Its config.
      step: Which checkpoint.
      members: Further ones.
      eval_name: Which evaluator's model, data and metrics; those of the run unless
        given.
      has_dropout: Whether a program with dropout is written, if the model has any.
      first_step: Updates that the weights had seen before the run.
    """
    predictor = runs.Predictor.from_trainer(trainer, step=step, eval_name=eval_name)
    names = _made.write_members(
        folder,
        trainer,
        predictor.transformed_state,
        members,
        predictor.evaluator.init_transform.transform,
        first_step=first_step,
    )
    spec = _write_program(predictor, folder / _layout.PROGRAM)
    drops = has_dropout and _write_dropping(predictor, folder)
    evaluator = trainer.evals[eval_name] if eval_name else trainer
    used = getattr(evaluator, "metrics", trainer.train_metrics)
    references = _references(used, spec["inputs"], runs.element_spec(trainer))
    columns = _columns(_pipeline(trainer, eval_name), spec, references)
    _write_inputs(folder, _pipeline_config(cfg, eval_name), spec, columns)
    metrics = _metrics_config(cfg, eval_name)
    if metrics:
        _configs.write(
            konfig.ConfigDict({"metrics": metrics}), folder / _layout.METRICS
        )
    return _made.Made(
        interface=_interface(spec, references, columns, has_dropout=drops),
        members=names,
        step=first_step + predictor.step,
        can_evaluate=bool(metrics),
        allowed_overrides=("batch_size",),
        num_classes={
            name: entry["shape"][1]
            for name, entry in spec["outputs"].items()
            if _is_classes(name, entry)
        },
    )


def _columns(
    ds: Any, spec: Mapping[str, Any], references: Mapping[str, str]
) -> _rows.Columns | None:
    """Returns what the model wants of a table, if it reads one."""
    shapes = {name: entry["shape"] for name, entry in spec["inputs"].items()}
    found = _rows.columns_of(ds, shapes)
    if found is None:
        return None
    numbers = tuple(k for k, x in spec["outputs"].items() if _is_numbers(k, x))
    return dataclasses.replace(found, references=tuple(references), numbers=numbers)


def _write_inputs(
    folder: pathlib.Path,
    ds: Any,
    spec: Mapping[str, Any],
    columns: _rows.Columns | None,
) -> None:
    inputs = konfig.ConfigDict(
        {
            "transforms": ds.get("transforms") or [],
            "batch_size": ds.get("batch_size") or 1,
            "num_channels": {
                name: entry["shape"][-1]
                for name, entry in spec["inputs"].items()
                if _is_image(entry)
            },
        }
    )
    if columns is not None:
        inputs["columns"] = konfig.ConfigDict(columns.to_json())
    _configs.write(_configs.without_references(inputs), folder / _layout.INPUTS)


def _interface(
    spec: Mapping[str, Any],
    references: Mapping[str, str],
    columns: _rows.Columns | None,
    *,
    has_dropout: bool,
) -> files_lib.FileInterface:
    labels = dict(enumerate(spec["labels"] or ()))
    outputs = {
        name: _output(name, entry, labels) for name, entry in spec["outputs"].items()
    }
    if columns is not None:
        # What is compared with predictions are columns of the same table.
        numbers = {name: files_lib.FileKind(kind="table") for name in columns.numbers}
        return files_lib.FileInterface(
            inputs={_rows.NAME: columns.file_kind()},
            outputs={**outputs, **numbers},
            has_dropout=has_dropout,
        )
    return files_lib.FileInterface(
        inputs={name: _input(entry) for name, entry in spec["inputs"].items()},
        references={
            name: files_lib.FileKind(
                kind=kind, required=False, labels=labels if kind == "table" else {}
            )
            for name, kind in references.items()
        },
        outputs=outputs,
        has_dropout=has_dropout,
    )


def _write_program(
    predictor: runs.Predictor, folder: pathlib.Path
) -> Mapping[str, Any]:
    """Writes the program without weights; returns its spec."""
    written = predictor.export(folder)
    for name in ("weights.safetensors", "README.md"):
        (folder / name).unlink()  # the weights are those of the members
    return written.spec


def _write_dropping(predictor: runs.Predictor, folder: pathlib.Path) -> bool:
    """Writes the program with dropout, if the model has any; returns whether it has."""
    if predictor.evaluator.has_own_forward:
        return False
    target = folder / _layout.DROPPING_PROGRAM
    try:
        predictor.export(target, drops=True)
    except step_lib.DropoutError:
        return False
    except export.ExportError as e:
        if not isinstance(e.__cause__, step_lib.DropoutError):
            console.warn(f"No draws of dropout: {e}")
        return False
    for name in ("weights.safetensors", "README.md"):
        (target / name).unlink()
    return True


def _pipeline_config(cfg: Any, eval_name: str | None) -> Any:
    """Returns the config of the pipeline whose transforms the inputs go through."""
    path = "eval_ds"
    if eval_name is not None and "ds" in cfg.evals[eval_name]:
        path = f"evals[{eval_name!r}].ds"
    elif cfg.get("eval_ds") is None:
        path = "train_ds"
    node = kontext.get_by_path(cfg, path)
    if not isinstance(node, konfig.ConfigDict) or (
        "transforms" not in node and "batch_size" not in node
    ):
        raise AppError(
            f"`cfg.{path}` does not say in the config what its transforms are, so that "
            "they cannot go along: write it as `kd.data.py.DataSource(..., "
            "transforms=[...])`."
        )
    return node


def _pipeline(trainer: Any, eval_name: str | None) -> Any:
    """Returns the pipeline of `_pipeline_config`."""
    if eval_name is not None:
        return trainer.evals[eval_name].ds
    return trainer.train_ds if trainer.eval_ds is None else trainer.eval_ds


def _is_numbers(name: str, entry: Mapping[str, Any]) -> bool:
    return len(entry["shape"]) <= 2 and not _is_classes(name, entry)


def _metrics_config(cfg: Any, eval_name: str | None) -> Any:
    evaluator = cfg.evals[eval_name] if eval_name is not None else {}
    found = evaluator["metrics"] if "metrics" in evaluator else cfg.get("train_metrics")
    return _configs.without_references(found) if found else None


def _references(
    metrics: Any, inputs: Mapping[str, Any], element_spec: Any
) -> dict[str, str]:
    """Returns the kinds of what metrics read of a batch and the model does not."""
    found = {}
    for metric in step_lib.intermediates.iter_metrics(metrics):
        for key in kontext.list_keys(metric.context_keys()):
            root, _, name = key.partition(".")
            if root == "batch" and name in element_spec and name not in inputs:
                shape = element_spec[name].shape
                found[name] = "table" if math.prod(shape[1:]) == 1 else "array"
    return found


def _is_image(entry: Mapping[str, Any]) -> bool:
    shape = entry["shape"]
    return len(shape) == 4 and shape[-1] in _PIXELS


def _input(entry: Mapping[str, Any]) -> files_lib.FileKind:
    return files_lib.FileKind(kind="image" if _is_image(entry) else "array")


def _output(
    name: str, entry: Mapping[str, Any], labels: Mapping[int, str]
) -> files_lib.FileKind:
    """Returns a table of classes for logits `[b n]`, else an array."""
    if _is_classes(name, entry):
        return files_lib.FileKind(kind="table", labels=labels)
    return files_lib.FileKind(kind="array")


def _is_classes(name: str, entry: Mapping[str, Any]) -> bool:
    shape = entry["shape"]
    is_named = name.rpartition(".")[2] == "logits"
    return is_named and len(shape) == 2 and isinstance(shape[1], int)
