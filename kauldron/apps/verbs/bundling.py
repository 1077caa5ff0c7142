"""`bundle`: makes an app of a run."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from kauldron import konfig
from kauldron._base import console, errors
from kauldron.apps.bundles import folders
from kauldron.apps.bundles import manifest as manifest_lib
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.bundles.manifest import Manifest
from kauldron.apps.bundles.ports import Label, Port
from kauldron.apps.verbs import (
    _array_bundles,
    _checks,
    _configs,
    _evaluator_bundles,
    _layout,
    _made,
)
from kauldron.evals import file_prediction as files_lib
from kauldron.workdir import workdirs

_ZIP = ".zip"
_DEFAULT_MAX_MC = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What an app says about itself that its run does not know.

    Attributes:
      name: That of the folder unless given.
      version: Of the app.
      description: A few sentences.
      licence: Of the weights.
      task: In two or three words.
      labels: Of classes and segmentations: number -> name.
      colours: Number -> `#rrggbb`.
      allowed_overrides: Globs of paths of the config that a call may set; what is safe
        for this kind of run unless given.
      data_paths: Where in the config the folder of a fine-tuning's data goes.
      max_tta: Up to how many augmented copies a call may ask for.
      max_mc: Up to how many draws of dropout.
    """

    name: str | None = None
    version: str = "1.0.0"
    description: str = ""
    licence: str = ""
    task: str = ""
    labels: Mapping[int, str] = dataclasses.field(default_factory=dict)
    colours: Mapping[int, str] = dataclasses.field(default_factory=dict)
    allowed_overrides: Sequence[str] | None = None
    data_paths: Sequence[str] | None = None
    max_tta: int | None = None
    max_mc: int = _DEFAULT_MAX_MC


def bundle(
    workdir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    step: int | str | None = -1,
    members: Sequence[int | str] = (),
    eval_name: str | None = None,
    about: Description = Description(),
    code: Sequence[str] = (),
    overwrite: bool = False,
    trusted: Sequence[str] = (),
) -> Manifest:
    """Makes an app of a run.

    Args:
      workdir: Directory of the run.
      out: The app: a directory, or a `.zip`. It appears when it is complete.
      step: Which checkpoint, see `kd.evals.Predictor.from_workdir`.
      members: Further checkpoints, an ensemble: steps of this run, or workdirs of
        others with the same model, `'runs/fold_1@best'`.
      eval_name: Which evaluator predicts; the one that predicts files if it is alone,
        otherwise the model of the run does, as `kauldron predict` lets it.
      about: What the run does not know.
      code: Packages or modules, outside of Kauldron, whose sources go along.
      overwrite: Whether an app that is there is replaced.
      trusted: Packages that the config of a run of somebody else may name.

    Raises:
      UserError: If the run cannot be an app; nothing is written then.
    """
    _check_target(pathlib.Path(out), overwrite=overwrite)
    cfg = workdirs.load_config(workdir, trusted=trusted)
    return bundle_trainer(
        konfig.resolve(cfg),
        cfg,
        out,
        step=step,
        members=members,
        eval_name=eval_name,
        about=about,
        code=code,
    )


def bundle_trainer(
    trainer: Any,
    cfg: Any,
    out: str | os.PathLike[str],
    *,
    step: int | str | None = -1,
    members: Sequence[int | str] = (),
    eval_name: str | None = None,
    about: Description = Description(),
    code: Sequence[str] = (),
    first_step: int = 0,
    sources: pathlib.Path | None = None,
) -> Manifest:
    """Makes an app of a run at hand; for the rest, see `bundle`.

    Args:
      trainer: The run.
      cfg: Its config.
      out: See `bundle`; what is there is replaced.
      step: See `bundle`.
      members: See `bundle`.
      eval_name: See `bundle`.
      about: See `bundle`.
      code: See `bundle`.
      first_step: Updates that its weights had seen before the run.
      sources: A folder of sources that go along as well.

    Raises:
      UserError: If the run cannot be an app; nothing is written then.
    """
    target = pathlib.Path(out)
    name = about.name or target.name.removesuffix(_ZIP)
    manifest_lib.check_name(name)
    with _work_folder(target) as work:
        folder = work / name
        (folder / _layout.MEMBERS).mkdir(parents=True)
        predicts = _file_evaluator(trainer, eval_name)
        if predicts is None:
            made = _array_bundles.write(
                folder,
                trainer,
                cfg,
                step=step,
                members=members,
                eval_name=eval_name,
                has_dropout=about.max_mc > 0,
                first_step=first_step,
            )
        else:
            made = _evaluator_bundles.write(
                folder,
                trainer,
                cfg,
                step=step,
                members=members,
                name=predicts,
                first_step=first_step,
            )
        _checks.check_labels(about.labels, made.num_classes)
        _write_run(folder, cfg, trainer)
        _checks.check_allowed(folder, about.allowed_overrides or ())
        if sources is not None and sources.is_dir():
            shutil.copytree(sources, folder / _layout.CODE)
        _write_code(folder, code)
        evaluator = predicts or eval_name or ""
        manifest = _manifest(folder, name, made, about, trainer, cfg, evaluator)
        manifest = manifest_lib.write_manifest(folder, manifest)
        _put(folder, target)
    return manifest


def _file_evaluator(trainer: Any, eval_name: str | None) -> str | None:
    """Returns the name of the evaluator that predicts files, if one is to do so."""
    names = [
        name
        for name, evaluator in trainer.evals.items()
        if isinstance(evaluator, files_lib.PredictsFiles)
    ]
    if eval_name is not None:
        return eval_name if eval_name in names else None
    if len(names) > 1:
        raise AppError(
            f"Say which evaluator predicts, with `--eval_name`: there are {names}."
        )
    return names[0] if names else None


def _manifest(
    folder: pathlib.Path,
    name: str,
    made: _made.Made,
    about: Description,
    trainer: Any,
    cfg: Any,
    evaluator: str,
) -> Manifest:
    interface = made.interface
    verbs = ["infer"]
    if made.can_evaluate:
        verbs.append("evaluate")
    is_uncertain = interface.combines_members and (
        interface.has_dropout or interface.max_copies or len(made.members) > 1
    )
    if is_uncertain:
        verbs.append("uncertainty")
    verbs.append("pipeline")
    if trainer.train_losses:
        verbs.append("fine-tune")
    inference = [_layout.PREDICTS, _layout.INPUTS]
    trusted = [
        x for file in inference for x in _configs.foreign_packages(folder / file)
    ]
    to_evaluate = _configs.foreign_packages(folder / _layout.METRICS)
    data_paths = _data_paths(cfg, trainer, about)
    to_train = _configs.foreign_packages(folder / _layout.CONFIG, without=data_paths)
    max_tta = interface.max_copies if about.max_tta is None else about.max_tta
    return Manifest(
        name=name,
        version=about.version,
        description=about.description,
        licence=about.licence,
        task=about.task,
        inputs=_ports(interface.inputs, about),
        references=_ports(interface.references, about),
        outputs=_ports(interface.outputs, about),
        takes_masks=interface.takes_masks,
        members=tuple(made.members),
        max_tta=min(max_tta, interface.max_copies),
        max_mc=about.max_mc if interface.has_dropout else 0,
        allowed_overrides=tuple(
            made.allowed_overrides
            if about.allowed_overrides is None
            else about.allowed_overrides
        ),
        data_paths=tuple(data_paths),
        verbs=tuple(verbs),
        trusted=tuple(sorted(set(trusted))),
        trusted_to_evaluate=to_evaluate,
        trusted_to_train=to_train,
        step=made.step,
        evaluator=evaluator,
    )


def _ports(
    kinds: Mapping[str, files_lib.FileKind], about: Description
) -> tuple[Port, ...]:
    found = []
    for name, kind in kinds.items():
        names = dict(kind.labels)
        if kind.labels or kind.kind in ("segmentation", "table"):
            names |= about.labels
        labels = {
            number: Label(name=label, colour=about.colours.get(number, ""))
            for number, label in sorted(names.items())
        }
        port = Port(
            name=name,
            kind=kind.kind,
            description=kind.description,
            required=kind.required,
            default=kind.default,
            labels=labels,
        )
        found.append(port)
    return tuple(found)


def _data_paths(cfg: Any, trainer: Any, about: Description) -> list[str]:
    """Returns where the folder of data goes: those given, or the paths of pipelines."""
    if about.data_paths is not None:
        return list(about.data_paths)
    found = []
    for name in ("train_ds", "eval_ds"):
        node, ds = cfg.get(name), getattr(trainer, name)
        fields = dataclasses.fields(ds) if dataclasses.is_dataclass(ds) else ()
        first = next((field.name for field in fields if not field.kw_only), "")
        keys = ["path", *(["0"] if first == "path" else [])]
        if isinstance(node, konfig.ConfigDict):
            found += [f"{name}.{key}" for key in keys if key in node][:1]
    return found


def _write_run(folder: pathlib.Path, cfg: Any, trainer: Any) -> None:
    """Writes the config of the run without what belongs to its place."""
    kept = _configs.without_references(cfg)
    for name in ("workdir", "xm_job"):
        if name in kept:
            del kept[name]
    _configs.write(kept, folder / _layout.CONFIG)
    spec_file = pathlib.Path(trainer.workdir) / workdirs.ELEMENT_SPEC_FILE
    if spec_file.exists():
        shutil.copy(spec_file, folder / _layout.ELEMENT_SPEC)


def _write_code(folder: pathlib.Path, code: Sequence[str]) -> None:
    """Copies the sources of packages and modules; they are found, not imported."""
    for name in code:
        root = name.partition(".")[0]
        spec = importlib.util.find_spec(root)
        origin = None if spec is None else spec.origin
        places = list(spec.submodule_search_locations or ()) if spec else []
        if root in sys.builtin_module_names or (origin is None and not places):
            raise AppError(
                f"There are no sources of {root!r} to go along: is it importable here?"
            )
        target = folder / _layout.CODE
        if places:
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
            shutil.copytree(places[0], target / root, ignore=ignored)
        else:
            target.mkdir(exist_ok=True)
            shutil.copy(str(origin), target / f"{root}.py")
        console.log(
            f"The sources of {root!r} go along: {places[0] if places else origin}."
        )


def _check_target(target: pathlib.Path, *, overwrite: bool) -> None:
    if target.exists() and not overwrite:
        raise AppError(
            f"{os.fspath(target)!r} exists: choose another name, or give `--overwrite`."
        )
    if target.exists() and overwrite and not _is_app(target):
        raise AppError(
            f"{os.fspath(target)!r} is no app, so that it is not overwritten."
        )


def _is_app(path: pathlib.Path) -> bool:
    try:
        manifest_lib.read_manifest(path, check=False)
    except errors.UserError:
        return path.is_dir() and (path / manifest_lib.FILE).exists()
    return True


class _work_folder:
    """A folder beside the target, so that it can be renamed to it; removed at the end."""

    def __init__(self, target: pathlib.Path) -> None:
        self._target = target

    def __enter__(self) -> pathlib.Path:
        parent = self._target.absolute().parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
            self._work = tempfile.mkdtemp(dir=parent, prefix=f".{self._target.name}-")
        except OSError as e:
            raise AppError(
                f"The app cannot be written to {os.fspath(self._target)!r}: "
                f"{e.strerror or e}."
            ) from e
        return pathlib.Path(self._work)

    def __exit__(self, *args: object) -> None:
        shutil.rmtree(self._work, ignore_errors=True)


def _put(folder: pathlib.Path, target: pathlib.Path) -> None:
    """Moves a complete app to its place."""
    made = folder
    if target.suffix == _ZIP:
        made = folder.with_suffix(_ZIP)
        folders.pack(folder, made)
    if target.exists():
        target.rename(folder.parent / "before")
    made.rename(target)
