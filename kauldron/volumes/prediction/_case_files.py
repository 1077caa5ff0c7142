"""What a `CaseEvaluator` says and does as an evaluator of files, for apps."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.errors
import jax
import numpy as np

from kauldron import kontext
from kauldron.evals import base, file_prediction
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries, dropping, intermediates
from kauldron.volumes import transforms
from kauldron.volumes.cases import case_files, dataset
from kauldron.volumes.cases import groups as groups_lib
from kauldron.volumes.files import volume_files
from kauldron.volumes.geometry.base import Geometry, Image
from kauldron.volumes.prediction import (
    _patch_network,
    _predicted,
    _whole_cases,
    outputs,
)

# Fields of the evaluator that a user of an app may set.
SETTINGS = ("combine", "window.batch_size", "window.overlap", "window.patch_size")
_DEFAULTS = {0.0: "zeros", 1.0: "ones"}


def interface(
    cases: dataset.VolumeCases,
    *,
    model: Any,
    losses: Mapping[str, Any],
    metrics: Mapping[str, Any],
    written: Mapping[str, outputs.Output],
    max_copies: int,
    members: Sequence[int | str],
    run: base.Run,
) -> file_prediction.FileInterface:
    """Returns what is read and written.

    Args:
      cases: Groups of them are inputs, if the model reads them, or references.
      model: The model.
      losses: Of the evaluator.
      metrics: Of the evaluator.
      written: The outputs.
      max_copies: How many augmented copies there can be.
      members: Further checkpoints.
      run: The run.
    """
    groups = groups_lib.as_groups(cases.groups)
    read = _groups_of(kontext.list_keys(kontext.get_keypaths(model)), groups)
    of_metrics = [
        key
        for metric in intermediates.iter_metrics([losses, metrics])
        for key in kontext.list_keys(metric.context_keys())
    ]
    compared = _groups_of(of_metrics, groups)
    mask = mask_group(cases, model=model, metrics=metrics)
    return file_prediction.FileInterface(
        inputs={name: _kind(groups[name]) for name in read},
        references={
            name: dataclasses.replace(_kind(groups[name]), required=False, default=None)
            for name in compared
            if name not in read and name != mask
        },
        outputs={
            name: file_prediction.FileKind(kind=_kind_of_output(output))
            for name, output in written.items()
        },
        max_copies=max_copies,
        has_dropout=_has_dropout(run),
        takes_masks=mask is not None,
        settings=SETTINGS,
        members=members,
    )


def mask_group(
    cases: dataset.VolumeCases, *, model: Any, metrics: Mapping[str, Any]
) -> str | None:
    """Returns the group that says which voxels count, and nothing else.

    It is read as the `region_mask` of metrics, and as nothing else by them or by the
    model; `None` if there is no such group, or several.
    """
    groups = groups_lib.as_groups(cases.groups)
    masks: list[str] = []
    others = list(kontext.list_keys(kontext.get_keypaths(model)))
    for metric in intermediates.iter_metrics(metrics):
        keys = list(metric.context_keys() or ())
        inner: Any = metric
        while hasattr(inner, "metric"):  # of one that wraps another
            inner = inner.metric
        mask_key = getattr(inner, "region_mask", None)
        if mask_key in keys:
            keys.remove(mask_key)
            masks.append(mask_key)
        others += keys
    used = _groups_of(others, groups)
    found = [name for name in _groups_of(masks, groups) if name not in used]
    # A file of this name must not be that of another group.
    is_taken = file_prediction.MASK in used
    return found[0] if len(found) == 1 and not is_taken else None


def without_cases(cfg: Any, name: str) -> Any:
    """Returns the config of a run that has one evaluator and reads no dataset.

    Args:
      cfg: The config, with `name` as its only evaluator, whose dataset is `eval_ds`
        unless it has its own.
      name: Of the evaluator.
    """
    node = cfg.evals[name]
    for field, nothing in (("losses", {}), ("summaries", {}), ("ensemble", [])):
        node[field] = nothing
    ds = node.get("ds", cfg.eval_ds)
    path = "0" if "0" in ds else "path"
    del ds[path]  # a call may not become a text
    ds[path] = ""
    for field in ("select", "split", "patches", "patches_per_case", "augment"):
        if field in ds:
            del ds[field]
    return cfg


def with_files(
    cases: dataset.VolumeCases, request: file_prediction.FileRequest, mask: str | None
) -> dataset.VolumeCases:
    """Returns the cases of a request, with the groups that their files are of.

    Args:
      cases: Those of the evaluator.
      request: What is asked.
      mask: The group of masks; where a case has none, all of its voxels count.
    """
    groups = groups_lib.as_groups(cases.groups)
    if mask is not None:
        groups[mask] = dataclasses.replace(groups[mask], optional=True, default=1.0)
    files = {
        case: {
            mask if k == file_prediction.MASK and mask else k: x for k, x in of.items()
        }
        for case, of in request.cases.items()
    }
    given = {name for of_case in files.values() for name in of_case}
    return dataclasses.replace(
        cases,
        path=case_files.CaseFiles(files),
        groups={name: group for name, group in groups.items() if name in given}
        | {name: group for name, group in groups.items() if group.optional},
        select=None,
        split=None,
        workdir=None,
    )


def predict(
    cases: dataset.VolumeCases,
    predictor: _whole_cases.CasePredictor,
    states: Sequence[TrainState],
    request: file_prediction.FileRequest,
    *,
    written: Mapping[str, outputs.Output],
    augment: Any,
    measure: Callable[[Any, Any], auxiliaries.AuxiliariesState],
) -> Iterator[file_prediction.FileResult]:
    """Yields what becomes of each case, and then of all together.

    Args:
      cases: Of the request.
      predictor: Predicts them.
      states: Of the checkpoints.
      request: What is asked.
      written: The outputs.
      augment: Of the copies.
      measure: Compares the batch of a case with what was predicted.
    """
    if request.copies:
        augment = dataclasses.replace(augment, copies=request.copies)
    writer = _CaseWriter(written, cases)
    merged: auxiliaries.AuxiliariesState | None = None
    with iter(cases) as batches:
        for batch in batches:
            case, geometry = str(batch["case"][0]), _predicted.geometry_of(batch)
            predicted = predictor(
                states,
                batch,
                augment=augment if request.copies else None,
                num_dropouts=request.dropouts,
            )
            members = list(map(_patch_network.nested, predicted))
            files: list[file_prediction.WrittenFile] = []
            values: dict[str, Any] = {}
            if request.predictions is not None:
                files += writer.predictions(
                    request.predictions, case, members, geometry
                )
            if request.doubts is not None:
                files += writer.doubts(request.doubts, case, members, geometry, values)
            if request.measures:
                aux = measure(batch, predicted)
                values |= _metrics_of(aux)
                merged = aux if merged is None else merged.merge_each(aux)
            yield file_prediction.FileResult(case=case, files=files, values=values)
    finals = {} if merged is None else _metrics_of(merged)
    yield file_prediction.FileResult(case=None, values=finals)


class _CaseWriter:
    """Writes what members predict of a case, or how far they are apart.

    Args:
      written: The outputs.
      cases: The cases.
    """

    def __init__(
        self, written: Mapping[str, outputs.Output], cases: dataset.VolumeCases
    ) -> None:
        self._written = written
        self._cases = cases

    def predictions(
        self,
        folder: pathlib.Path,
        case: str,
        members: Sequence[Any],
        geometry: Geometry,
    ) -> Iterator[file_prediction.WrittenFile]:
        """Writes the outputs."""
        for name, output in self._written.items():
            image = self._image(output, case, members, geometry)
            yield self._write(
                folder, case, name, output, image, _kind_of_output(output)
            )

    def doubts(
        self,
        folder: pathlib.Path,
        case: str,
        members: Sequence[Any],
        geometry: Geometry,
        values: dict[str, Any],
    ) -> Iterator[file_prediction.WrittenFile]:
        """Writes maps of doubt of each output; adds their means to `values`."""
        for name, output in self._written.items():
            for kind, doubt in _doubts(output).items():
                image = self._image(doubt, case, members, geometry)
                values[f"{name}_{kind}"] = float(f"{image.array.mean():.7g}")
                label = f"{name}_{kind}"
                yield self._write(folder, case, label, doubt, image, "volume")

    def _image(
        self,
        output: outputs.Output,
        case: str,
        members: Sequence[Any],
        geometry: Geometry,
    ) -> Image:
        arrays = [np.asarray(kontext.get_by_path(m, output.key)) for m in members]
        return outputs.as_image(output.opened(arrays, geometry, self._cases, case))

    def _write(
        self,
        folder: pathlib.Path,
        case: str,
        name: str,
        output: outputs.Output,
        image: Image,
        kind: str,
    ) -> file_prediction.WrittenFile:
        path = folder / name / f"{case}{output.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        volume_files.write(path, image)
        return file_prediction.WrittenFile(path=path, output=name, kind=kind)


def _metrics_of(aux: auxiliaries.AuxiliariesState) -> dict[str, Any]:
    values = aux.compute().metric_values
    return {name.removeprefix("metrics/"): value for name, value in values.items()}


def _doubts(output: outputs.Output) -> dict[str, outputs.Output]:
    """Returns kind of doubt -> an output of it, for classes and for values."""
    is_of_classes = _kind_of_output(output) == "segmentation"
    has_probs = any(isinstance(x, transforms.Softmax) for x in output.post)
    kinds = ["disagreement", *(["entropy"] if has_probs else [])]
    return {
        kind: dataclasses.replace(
            output,
            of=kind,
            each=[*output.each, *output.post],
            post=(),
            final=(),
            kind="map",
        )
        for kind in (kinds if is_of_classes else ["variance"])
    }


def _groups_of(
    keys: Sequence[str], groups: Mapping[str, groups_lib.Group]
) -> list[str]:
    names = [kontext.Path.from_str(key).parts for key in keys]
    found = [parts[1] for parts in names if parts[0] == "batch" and len(parts) > 1]
    return [name for name in groups if name in found]


def _kind(group: groups_lib.Group) -> file_prediction.FileKind:
    return file_prediction.FileKind(
        kind="segmentation" if group.is_label else "volume",
        required=not group.optional,
        default=_DEFAULTS.get(group.default) if group.optional else None,
    )


def _kind_of_output(output: outputs.Output) -> str:
    steps = (*output.each, *output.post, *output.final)
    is_classes = any(isinstance(step, transforms.Argmax) for step in steps)
    return "segmentation" if is_classes else "volume"


def _has_dropout(run: base.Run) -> bool:
    """Whether the model has dropout that drops anything."""
    try:
        with dropping.dropping():
            jax.eval_shape(functools.partial(run.init_state, skip_transforms=True))
    except dropping.DropoutError:
        return False
    except flax.errors.InvalidRngError:
        return True  # it asks for random numbers, which initialising has none of
    return True
