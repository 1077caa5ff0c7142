"""`Call`: what is asked of an app, the same from Python, a command line and HTTP."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from kauldron._base import errors
from kauldron.apps.bundles._json_fields import Fields
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.bundles.manifest import Manifest, check_name
from kauldron.apps.bundles.ports import KINDS, Port

# Name of an input -> its files; the name is empty for the first input.
Groups: TypeAlias = Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """What is asked of an app.

    The n-th files of all inputs belong together and are one case; a table is for all
    cases. A folder is a volume in slices, or else stands for the files in it.

    Attributes:
      verb: `infer`, `evaluate`, `uncertainty`, `pipeline` or `fine-tune`.
      inputs: Name of an input -> files; `''` is the first input.
      references: Name of a reference -> files, for `evaluate` and `pipeline`.
      masks: Files that say where an evaluation looks.
      ensemble: How many members, the first ones, or their names; all unless given.
      tta: How many augmented copies are predicted, too; 0 is none.
      mc: How many draws of dropout are predicted; 0 is none.
      with_uncertainty: Whether a `pipeline` also gives the uncertainty.
      overrides: Path in the config, without `cfg.` -> value, as the app allows.
      data: Folder that a fine-tuning learns from.
      steps: How many updates a fine-tuning makes.
      learning_rate: Of a fine-tuning; that of the run unless given.
      name: Of the app that a fine-tuning makes.
    """

    verb: str
    inputs: Groups = dataclasses.field(default_factory=dict)
    references: Groups = dataclasses.field(default_factory=dict)
    masks: tuple[str, ...] = ()
    ensemble: int | tuple[str, ...] | None = None
    tta: int = 0
    mc: int = 0
    with_uncertainty: bool = False
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: str | None = None
    steps: int | None = None
    learning_rate: float | None = None
    name: str | None = None

    @property
    def measures(self) -> bool:
        """Whether predictions are compared with references."""
        return self.verb == "evaluate" or (
            self.verb == "pipeline" and bool(self.references)
        )

    def check_trusted(self, manifest: Manifest, trusted: Sequence[str] = ()) -> None:
        """Raises `AppError` if it runs code of a package that is not trusted."""
        is_measured = self.measures or bool(self.masks)
        manifest.check_trusted("evaluate" if is_measured else self.verb, trusted)

    def check(self, manifest: Manifest) -> Call:
        """Returns the call with the names of inputs filled in.

        Files are not looked at: only how they are called, and how many there are.

        Raises:
          AppError: If the app cannot do it: names the input, the limit, the nearest name.
        """
        manifest.check_verb(self.verb)
        _check_unused(self)
        if self.verb == "fine-tune":
            _check_fine_tuning(self, manifest)
        checked = dataclasses.replace(
            self,
            inputs=_named(self.inputs, manifest.inputs, "input", manifest),
            references=_named(
                self.references, manifest.references, "reference", manifest
            ),
        )
        if self.verb != "fine-tune":
            _check_groups(checked, manifest)
        _check_members(self.ensemble, manifest)
        _check_limit("tta", self.tta, manifest.max_tta, "augmented copies", manifest)
        _check_limit("mc", self.mc, manifest.max_mc, "draws of dropout", manifest)
        for path in self.overrides:
            _check_override(path, manifest)
        if self.verb == "uncertainty" or self.with_uncertainty:
            _check_uncertainty(self, manifest)
        return checked

    def inside(self, folder: str | os.PathLike[str]) -> Call:
        """Returns the call with its paths, which are relative, in a folder."""

        def moved(paths: Sequence[str]) -> tuple[str, ...]:
            return tuple(os.path.join(folder, path) for path in paths)

        return dataclasses.replace(
            self,
            inputs={name: moved(paths) for name, paths in self.inputs.items()},
            references={name: moved(paths) for name, paths in self.references.items()},
            masks=moved(self.masks),
            data=None if self.data is None else os.path.join(folder, self.data),
        )

    def members(self, manifest: Manifest) -> tuple[str, ...]:
        """Returns the names of the members that are asked for."""
        if self.ensemble is None:
            return manifest.members
        if isinstance(self.ensemble, int):
            return manifest.members[: self.ensemble]
        return self.ensemble

    def to_json(self) -> dict[str, Any]:
        """Returns what JSON can hold, without what is as it is by default."""
        values = vars(self).items()
        return {k: _as_json(x) for k, x in values if x not in (None, 0, (), {})}

    @classmethod
    def from_json(cls, entry: object) -> Call:
        """Returns what `to_json` was made of.

        Raises:
          AppError: If a field is unknown or has a wrong type.
        """
        fields = Fields(entry, "the call")
        found = {"verb": fields.take("verb", str)}
        for name in fields.names:
            if name not in _READS:
                raise AppError(
                    f"A call has no {name!r}: there are {list(_READS)}."
                    f"{errors.did_you_mean(name, _READS)}"
                )
            found[name] = _READS[name](fields, name)
        return cls(**found)

    def to_arguments(
        self,
        app: str | os.PathLike[str],
        out: str | os.PathLike[str],
        *,
        progress: str | None = None,
    ) -> list[str]:
        """Returns the arguments of `kauldron` that make the call, without a shell.

        Args:
          app: Path of the app.
          out: Where results go.
          progress: `'lines'` for JSON lines that tell how far it is.
        """
        arguments = ["apps", self.verb, os.fspath(app)]
        for flag, groups in (("input", self.inputs), ("reference", self.references)):
            for name, paths in groups.items():
                arguments += [f"--{flag}={name}={path}" for path in paths]
        arguments += [f"--mask={path}" for path in self.masks]
        if isinstance(self.ensemble, tuple):
            arguments += [f"--member={name}" for name in self.ensemble]
        elif self.ensemble is not None:
            arguments.append(f"--ensemble={self.ensemble}")
        for flag, value in self._plain_options().items():
            arguments.append(f"--{flag}={value}")
        if self.with_uncertainty:
            arguments.append("--with_uncertainty")
        for path, value in self.overrides.items():
            arguments.append(f"--cfg.{path}={json.dumps(value)}")
        arguments.append(f"--out={os.fspath(out)}")
        return [*arguments, *([f"--progress={progress}"] if progress else [])]

    def _plain_options(self) -> dict[str, Any]:
        names = ("tta", "mc", "data", "steps", "learning_rate", "name")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value}


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _as_json(x) for name, x in value.items()}
    return list(map(_as_json, value)) if isinstance(value, tuple | list) else value


def _ensemble(fields: Fields, name: str) -> int | tuple[str, ...] | None:
    if isinstance(fields.optional(name, object), list):
        return fields.texts(name)
    return fields.optional(name, int)


def _number(fields: Fields, name: str) -> float | None:
    value = fields.optional(name, object)
    return (
        value if value is None or isinstance(value, float) else fields.take(name, int)
    )


# Field of `Call` -> takes it from JSON.
_READS: Mapping[str, Callable[[Fields, str], Any]] = {
    "verb": lambda fields, name: fields.take(name, str),
    "inputs": Fields.texts_by_name,
    "references": Fields.texts_by_name,
    "masks": Fields.texts,
    "ensemble": _ensemble,
    "tta": lambda fields, name: fields.take(name, int),
    "mc": lambda fields, name: fields.take(name, int),
    "with_uncertainty": lambda fields, name: fields.take(name, bool),
    "overrides": lambda fields, name: dict(fields.take(name, dict)),
    "data": lambda fields, name: fields.optional(name, str),
    "steps": lambda fields, name: fields.optional(name, int),
    "learning_rate": _number,
    "name": lambda fields, name: fields.optional(name, str),
}


def _check_unused(call: Call) -> None:
    """Finds what is given and has no meaning for the verb."""
    for name in _without_meaning(call.verb):
        if getattr(call, name):
            raise AppError(f"`{name}` has no meaning for {call.verb!r}: leave it out.")


@functools.cache
def _without_meaning(verb: str) -> tuple[str, ...]:
    """Returns the fields of `Call` that say nothing about a verb that there is."""
    uses = {
        "references": verb in ("evaluate", "pipeline"),
        "masks": verb in ("evaluate", "pipeline"),
        "with_uncertainty": verb == "pipeline",
        **dict.fromkeys(
            ("data", "steps", "learning_rate", "name"), verb == "fine-tune"
        ),
        **dict.fromkeys(("inputs", "tta", "mc"), verb != "fine-tune"),
    }
    return tuple(name for name, is_used in uses.items() if not is_used)


def _check_fine_tuning(call: Call, manifest: Manifest) -> None:
    if call.steps is None or call.steps < 1:
        raise AppError(
            f"Say how many updates a fine-tuning makes, `--steps=100`: got {call.steps}."
        )
    if call.data is None and manifest.data_paths:
        raise AppError("Say what a fine-tuning learns from: `--data=FOLDER`.")
    if call.data is not None and not manifest.data_paths:
        raise AppError(
            f"The app {manifest.name!r} does not say where in its config the folder of "
            "data goes: set it with `--cfg.train_ds...`."
        )
    if call.learning_rate is not None and not call.learning_rate > 0:
        raise AppError(
            f"The learning rate is greater than 0: got {call.learning_rate}."
        )
    if call.name is not None:
        check_name(call.name)


def _named(
    groups: Groups, ports: Sequence[Port], what: str, manifest: Manifest
) -> dict[str, tuple[str, ...]]:
    """Returns the groups by name, in the order of the ports."""
    names = [port.name for port in ports]
    if groups and not ports:
        has_rows = manifest.inputs[0].kind == "table"
        hint = " What is right are columns of its table." if has_rows else ""
        raise AppError(f"The app {manifest.name!r} takes no {what}s.{hint}")
    found: dict[str, tuple[str, ...]] = {}
    for name, paths in groups.items():
        full_name = name or names[0]
        if full_name not in names:
            raise AppError(
                f"The app {manifest.name!r} has no {what} {name!r}: there are {names}."
                f"{errors.did_you_mean(name, names)}"
            )
        found[full_name] = (*found.get(full_name, ()), *paths)
    return {name: found[name] for name in names if found.get(name)}


def _check_groups(call: Call, manifest: Manifest) -> None:
    for port in manifest.inputs:
        if port.required and port.name not in call.inputs:
            raise AppError(
                f"The app {manifest.name!r} needs the input {port.name!r} ({port.kind}): "
                f"`--input={port.name}=FILE`."
            )
    if call.verb == "evaluate" and not call.references and manifest.references:
        names = [port.name for port in manifest.references]
        raise AppError(
            f"Say what results are compared with: `--reference={names[0]}=FILE`; there "
            f"are {names}."
        )
    if call.masks and not manifest.takes_masks:
        raise AppError(f"The app {manifest.name!r} takes no masks.")
    ports = {port.name: port for port in (*manifest.inputs, *manifest.references)}
    groups = {**call.inputs, **call.references}
    for name, paths in groups.items():
        if ports[name].kind == "table" and len(paths) > 1:
            raise AppError(f"{name!r} is one table for all cases: got {len(paths)}.")
        for path in paths:
            if not _may_be_folder(path) and not ports[name].accepts(path):
                kind = ports[name].kind
                raise AppError(
                    f"{name!r} is of the kind {kind!r}, files such as "
                    f"'x{KINDS[kind][0]}': got {os.path.basename(path)!r}. It reads "
                    f"{', '.join(KINDS[kind])}."
                )
    one_each = {k: x for k, x in groups.items() if ports[k].kind != "table"}
    _check_counts({**one_each, "masks": call.masks})


def _check_counts(groups: Groups) -> None:
    """Finds files that have no partner; what is in folders is not known yet."""
    counts = {
        name: len(paths)
        for name, paths in groups.items()
        if paths and not any(map(_may_be_folder, paths))
    }
    if len(set(counts.values())) > 1:
        raise AppError(
            "The n-th files of all inputs are one case, so that there are equally many: "
            f"got {counts}."
        )


def _may_be_folder(path: str) -> bool:
    return "." not in os.path.basename(path.rstrip("/")) or any(
        x in path for x in "*?["
    )


def _check_members(ensemble: int | tuple[str, ...] | None, manifest: Manifest) -> None:
    if ensemble is None:
        return
    if isinstance(ensemble, int):
        if not 1 <= ensemble <= len(manifest.members):
            raise AppError(
                f"`ensemble` is a number of members, 1 to {len(manifest.members)} for "
                f"the app {manifest.name!r}: got {ensemble}."
            )
        return
    for name in ensemble:
        if name not in manifest.members:
            raise AppError(
                f"The app {manifest.name!r} has no member {name!r}: there are "
                f"{list(manifest.members)}.{errors.did_you_mean(name, manifest.members)}"
            )
    if not ensemble or len(set(ensemble)) < len(ensemble):
        raise AppError(f"Members are one or more, each once: got {list(ensemble)}.")


def _check_limit(
    name: str, value: int, limit: int, what: str, manifest: Manifest
) -> None:
    if not 0 <= value <= limit:
        raise AppError(
            f"The app {manifest.name!r} predicts up to {limit} {what}: got "
            f"`{name}={value}`."
        )


def _check_uncertainty(call: Call, manifest: Manifest) -> None:
    num_members = len(call.members(manifest))
    if num_members * max(1, call.mc) * (1 + call.tta) < 2:
        raise AppError(
            "Uncertainty is how far several predictions are apart: ask for some, with "
            f"`--mc` (up to {manifest.max_mc}), `--tta` (up to {manifest.max_tta}) or "
            f"several members (of {len(manifest.members)})."
        )


def _check_override(path: str, manifest: Manifest) -> None:
    allowed = manifest.allowed_overrides
    if any(fnmatch.fnmatchcase(path, pattern) for pattern in allowed):
        return
    raise AppError(
        f"The app {manifest.name!r} does not let a call set `cfg.{path}`: it allows "
        f"{[f'cfg.{x}' for x in allowed]}.{errors.did_you_mean(path, allowed)}"
    )
