"""Published weights: from a family's files into a model, and back."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from kauldron._base import console
from kauldron.checkpoints import (
    _errors,
    _init_transforms,
    _safetensors,
    _shape_changes,
    _surgery,
)
from kauldron.checkpoints.pretrained import (
    _declared,
    _files,
    _layout,
    _plan,
    _scanned_layers,
    _uses,
    _variables,
)
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState


@dataclasses.dataclass(frozen=True)
class PretrainedWeights(_init_transforms.InitTransform):
    """Fills a model with the weights of another framework's, from safetensors.

    Every variable of the model is filled, running statistics included, and every tensor
    of the file is used; else the error lists what is not. Tensors are read one by one,
    of sharded variables the parts that are needed. Needs `kauldron[safetensors]`.

    Attributes:
      path: A file, an index (`*.safetensors.index.json`), or a folder with either; or
        files of another format (`kd.ckpts.pretrained.TensorFiles`).
      layout: How the family names and turns its weights: a name of
        `kd.ckpts.pretrained.LAYOUTS`, or a `Layout` of your own.
      into: Path of the sub-model that is filled, such as `"encoder"`; the rest of the
        model keeps its initial values.
      prefix: What the names in the file begin with, such as `"module."`; the others are
        left out.
      ignore_model_keys: Globs, matched at any depth, of variables that keep their initial
        values, such as `["head"]`.
      ignore_restored_keys: Globs of tensors that may remain unused.
      resize: Glob of variables -> what to do if the shape is another one:
        `{"head": kd.ckpts.KeepInit()}`.

    Raises:
      NoCheckpointError: If there is no such file.
      CheckpointError: If the file is damaged, has another layout, or does not fit the
        model; or a `config.json` beside it tells another number of heads, which shapes
        don't.

    Example:

    ```python
    cfg.init_transform = kd.ckpts.PretrainedWeights(
        path="resnet18.safetensors",
        layout="timm_resnet",
        resize={"head": kd.ckpts.KeepInit()},  # other classes
    )
    ```
    """

    path: epath.PathLike | _files.TensorFiles
    layout: str | _layout.Layout
    into: str = ""
    prefix: str = ""
    ignore_model_keys: Sequence[str] = ()
    ignore_restored_keys: Sequence[str] = ()
    resize: Mapping[str, _shape_changes.Resizer] = dataclasses.field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        _files.find_layout(self.layout)
        _surgery.check_lists_of_globs(self)
        _surgery.check_resizers(self.resize)

    def check(self, state: TrainState) -> None:
        self._plan(state)

    def transform(self, state: TrainState) -> TrainState:
        return self.fill(state)

    def fill(self, variables: PyTree) -> Any:
        """Returns variables (as `model.init` makes them), or a state, with the weights.

        Values keep dtype and sharding. Of `jax.ShapeDtypeStruct`s (`jax.eval_shape` of
        `model.init`), all have to be in the file.
        """
        file, plan = self._plan(variables)
        ours = _variables.named(variables, self.into)
        with self._explaining(file):
            values = _read(file, plan, ours)
        console.log(f"From {file.name}:\n{_table(plan, values)}")
        return _variables.replaced(variables, values, self.into)

    def _plan(self, variables: PyTree) -> tuple[_files.File, _plan.Plan]:
        """Opens the file, and decides what becomes of each tensor and variable."""
        layout = _files.find_layout(self.layout)
        file = _files.File.open(self.path, self.prefix)
        ours = _variables.named(variables, self.into)
        _files.check_file(layout, file)
        _files.check_model(layout, ours, list(_variables.named(variables)), self.into)
        _declared.check_heads(file.name, ours)
        choices = _plan.Choices(
            ignore_model_keys=self.ignore_model_keys,
            ignore_restored_keys=self.ignore_restored_keys,
            resize=self.resize,
        )
        with self._explaining(file):
            self._check_globs(list(ours), list(file.specs))
            layout = layout.with_bases_of(file.specs, ours)
            shapes = {name: np.shape(leaf) for name, leaf in ours.items()}
            layout = _scanned_layers.with_scanned_layers(layout, shapes)
            return file, _plan.make(layout, file.specs, ours, choices)

    def _check_globs(self, ours: Sequence[str], theirs: Sequence[str]) -> None:
        """Finds globs that match nothing."""
        for field in ("resize", "ignore_model_keys"):
            _surgery.check_globs_match(field, getattr(self, field), ours)
        _surgery.check_globs_match(
            *("ignore_restored_keys", self.ignore_restored_keys, theirs),
            where="the file",
        )

    @contextlib.contextmanager
    def _explaining(self, file: _files.File) -> Iterator[None]:
        try:
            yield
        except _errors.CheckpointError as e:
            lines = str(e) if str(e).startswith("\n") else _errors.listing([str(e)])
            name = _files.find_layout(self.layout).name
            below = f" below {self.into!r}" if self.into else ""
            raise _errors.CheckpointError(
                f"{file.name!r} ({name}) does not fit this model{below}:{lines}\n"
                "Keep initial values with `ignore_model_keys`, leave out tensors with "
                "`ignore_restored_keys`, or allow other shapes with `resize`, such as "
                "{'head': kd.ckpts.KeepInit()} for other classes."
            ) from None


def save_pretrained(
    variables: PyTree,
    path: epath.PathLike,
    layout: str | _layout.Layout,
    *,
    into: str = "",
    prefix: str = "",
    ignore_model_keys: Sequence[str] = (),
    max_shard_bytes: int = 5_000_000_000,
) -> list[epath.Path]:
    """Writes a model as safetensors that the family's own code reads.

    What `PretrainedWeights` reads of them is the model again, to the bit.

    Args:
      variables: As `model.init` makes them, or a train state.
      path: The file, `*.safetensors`; several and an index if they are too large.
      layout: As for `PretrainedWeights`.
      into: Path of the sub-model that is written.
      prefix: What all names in the file begin with.
      ignore_model_keys: Globs of variables that are left out.
      max_shard_bytes: How large a file may be, unless one tensor is larger.

    Returns:
      The files.

    Raises:
      CheckpointError: If a variable has no place in the layout, or a glob matches none;
        nothing is written then.
      OSError: If the file cannot be written; says why.
    """
    layout = _files.find_layout(layout)
    named = _variables.named(variables, into)
    _files.check_model(layout, named, list(_variables.named(variables)), into)
    _surgery.check_globs_match(
        "ignore_model_keys", ignore_model_keys, list(named), where="the model"
    )
    layout = layout.with_bases_of([layout.base], named)
    choices = _plan.Choices(ignore_model_keys=ignore_model_keys)
    ours = {n: np.asarray(x) for n, x in named.items() if not choices.is_kept(n)}
    tensors: dict[str, np.ndarray] = {}
    written: set[str] = set()
    shapes = {name: leaf.shape for name, leaf in ours.items()}
    layout = _scanned_layers.with_scanned_layers(layout, shapes)
    for use in _uses.find_uses(layout.rules, (), shapes, is_written=True):
        if all(name in ours for name in use.ours) and not written >= set(use.ours):
            tensors |= use.to_theirs(ours)
            written |= set(use.ours)
    if lacking := [name for name in ours if name not in written]:
        raise _errors.CheckpointError(
            f"The layout {layout.name!r} has no place for:{_errors.listing(lacking)}\n"
            "Leave them out with `ignore_model_keys`."
        )
    return _safetensors.save_safetensors(
        {f"{prefix}{name}": tensor for name, tensor in tensors.items()},
        path,
        max_shard_bytes=max_shard_bytes,
        metadata=dict(layout.metadata),
    )


def _read(
    file: _files.File, plan: _plan.Plan, ours: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the new value of each variable that changes."""
    for name in plan.kept:
        if isinstance(ours[name], jax.ShapeDtypeStruct):
            raise _errors.CheckpointError(
                f"{name} keeps its initial value, and there is none: give the arrays of "
                "`model.init`, not shapes."
            )
    tensors = file.views({name for use in plan.uses for name in use.all_theirs})
    sizes = {name: tuple(np.shape(leaf)) for name, leaf in ours.items()}
    values: dict[str, Any] = {}
    for use in plan.uses:
        for name, value in use.to_ours(tensors, sizes).items():
            if name in values or name in plan.kept:
                continue
            if name in plan.resized:
                value = _resized(name, plan.resized[name], value, ours[name])
            values[name] = _safetensors.to_leaf(value, ours[name], name)
    return values


def _resized(
    name: str, resizer: _shape_changes.Resizer, value: np.ndarray, leaf: Any
) -> np.ndarray:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        leaf = np.zeros(leaf.shape, leaf.dtype)
    try:
        return resizer.resize(np.array(value), np.asarray(leaf))
    except _errors.CheckpointError as e:
        e.add_note(f"In `resize`, for {name!r}.")
        raise


def _table(plan: _plan.Plan, values: Mapping[str, Any]) -> str:
    """Returns what was filled and how, and what was not."""
    filled = [name for name in values if name not in plan.resized]
    num_bytes = sum(
        math.prod(values[name].shape) * np.dtype(values[name].dtype).itemsize
        for name in filled
    )
    lines = [f"  {len(filled)} variables, {num_bytes / 1e6:.1f} MB"]
    lines += [
        f"  {name}: {type(resizer).__name__}" for name, resizer in plan.resized.items()
    ]
    lines += [f"  {name}: kept ({why})" for name, why in plan.kept.items()]
    if plan.skipped:
        lines.append(f"  ignored in the file: {', '.join(plan.skipped[:8])}")
    return "\n".join(lines)
