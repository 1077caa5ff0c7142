"""What a form asks of an app: its fields and files as a `Call`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kauldron._base import errors
from kauldron.apps.bundles.calls import Call
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.bundles.manifest import Manifest
from kauldron.apps.bundles.ports import Port
from kauldron.apps.http._uploads import Form

# Field of files -> field of `Call`. With `.NAME` they are of that input.
_FILES = {
    "inputs": "inputs",
    "references": "references",
    "gt": "references",
    "masks": "masks",
    "mask": "masks",
    "dataset": "data",
}
_WITH_PORTS = ("inputs", "references", "gt")
_GROUPS = {
    "inputs_groups": "inputs",
    "references_groups": "references",
    "gt_groups": "references",
}
_OPTIONS = tuple(
    field.name
    for field in dataclasses.fields(Call)
    if field.name not in ("verb", "inputs", "references", "masks", "data")
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What a client asks for.

    Attributes:
      call: Paths in it are relative to the folder with the files.
      device: `auto`, `cpu`, or numbers.
    """

    call: Call
    device: str

    def accepted(self) -> dict[str, Any]:
        """Returns the options as they are understood."""
        entry = self.call.to_json()
        options = {name: entry[name] for name in _OPTIONS if name in entry}
        return {**options, "device": self.device}


def takes_file(field: str) -> bool:
    """Whether a field may be a file."""
    name, dot, port = field.partition(".")
    return name in _FILES and (not dot or (name in _WITH_PORTS and bool(port)))


def read(verb: str, form: Form, folder: str, manifest: Manifest) -> Asked:
    """Returns what a form asks for; it is what the app can do.

    Args:
      verb: What is to be done.
      form: What was sent.
      folder: Where the files of the form are; paths of the call begin with it.
      manifest: Of the app.

    Raises:
      AppError: If a field is unknown or wrong, or the app cannot do it.
    """
    fields = {name: values[-1] for name, values in form.fields.items()}
    groups: dict[str, dict[str, list[str]]] = {"inputs": {}, "references": {}}
    plain: dict[str, list[str]] = {"masks": [], "data": []}
    for field, found in form.files.items():
        name, _, port = field.partition(".")
        paths = [f"{folder}/{path}" for path in found]
        kind = _FILES[name]
        if kind in plain:
            plain[kind] += paths
        else:
            groups[kind].setdefault(port, []).extend(paths)
    for field, kind in _GROUPS.items():
        if field in fields:
            ports = getattr(manifest, kind)
            _split(groups[kind], fields.pop(field), field, ports)
    device = _device(fields)
    options = _json(fields.pop("options", "{}"), "options")
    if not isinstance(options, dict):
        raise AppError('`options` is a JSON object, such as {"tta": 4}.')
    options |= {_RENAMED.get(k, k): _value(k, v) for k, v in fields.items() if v}
    _check_names(options)
    entry = {**options, "verb": verb, **groups, "masks": plain["masks"]}
    if plain["data"]:
        entry["data"] = plain["data"][0]
    return Asked(call=Call.from_json(entry).check(manifest), device=device)


# Names that other clients use.
_RENAMED = {
    "ensemble_models": "ensemble",
    "models": "ensemble",
    "uncertainty": "with_uncertainty",
    "lr": "learning_rate",
}


def _comma_separated(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _flag(text: str) -> bool:
    words = {"true": True, "1": True, "false": False, "0": False}
    if text.strip().lower() not in words:
        raise ValueError
    return words[text.strip().lower()]


_KINDS: Mapping[str, Callable[[str], Any]] = {
    "ensemble": int,
    "ensemble_models": _comma_separated,
    "models": _comma_separated,
    "tta": int,
    "mc": int,
    "steps": int,
    "learning_rate": float,
    "lr": float,
    "uncertainty": _flag,
    "with_uncertainty": _flag,
    "overrides": json.loads,
    "name": str,
}


def _value(name: str, text: str) -> Any:
    if name not in _KINDS:
        known = [*_KINDS, *_FILES, *_GROUPS, "options", "cpu", "gpu"]
        raise AppError(
            f"There is no field {name[:50]!r}.{errors.did_you_mean(name[:50], known)}"
        )
    try:
        return _KINDS[name](text)
    except (ValueError, RecursionError):
        raise AppError(f"The field `{name}` cannot be {text[:50]!r}.") from None


def _json(text: str, field: str) -> Any:
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise AppError(f"The field `{field}` is no JSON: got {text[:50]!r}.") from None


def _check_names(options: Iterable[str]) -> None:
    for name in options:
        if name not in _OPTIONS:
            raise AppError(
                f"There is no option {str(name)[:50]!r}: there are {list(_OPTIONS)}."
                f"{errors.did_you_mean(str(name)[:50], _OPTIONS)}"
            )


def _device(fields: dict[str, str]) -> str:
    """Takes the fields that say where a job runs."""
    fields.pop("quiet", None)
    cpu, gpu = fields.pop("cpu", ""), fields.pop("gpu", "")
    if cpu and _value_of_flag(cpu):
        if gpu:
            raise AppError(
                "A job runs on the CPU or on devices: leave out `cpu` or `gpu`."
            )
        return "cpu"
    return gpu.strip() or "auto"


def _value_of_flag(text: str) -> bool:
    # Clients also send how many processes they want.
    return text.strip().lower() not in ("0", "false", "none")


def _split(
    group: dict[str, list[str]], counts: str, field: str, ports: Sequence[Port]
) -> None:
    """Gives the files without an input to the inputs: `2,1` are two, then one."""
    paths = group.pop("", [])
    try:
        numbers = [int(part) for part in counts.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or sum(numbers) != len(paths):
        raise AppError(
            f"`{field}` says how many files each input has, `2,1`, for {len(paths)} "
            f"files: got {counts[:50]!r}."
        )
    if len(numbers) > len(ports):
        names = [port.name for port in ports]
        raise AppError(f"`{field}` has {len(numbers)} groups: there are {names}.")
    for port, number in zip(ports, numbers, strict=False):
        if number:
            group.setdefault(port.name, []).extend(paths[:number])
        paths = paths[number:]
