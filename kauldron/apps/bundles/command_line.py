"""From the flags of a command to a call, and what is shown of its progress."""

from __future__ import annotations

import ast
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kauldron._base import errors
from kauldron.apps.bundles.calls import Call
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.bundles.manifest import Manifest
from kauldron.apps.bundles.ports import Port

_PROGRESS = ("auto", "none", "lines")


def parse_call(
    verb: str,
    manifest: Manifest,
    *,
    inputs: Sequence[str] = (),
    references: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    mask: Sequence[str] = (),
    ensemble: int | None = None,
    member: Sequence[str] = (),
    **options: Any,
) -> Call:
    """Returns the call of a command line.

    Args:
      verb: What is asked.
      manifest: Of the app.
      inputs: `FILE` of the first input, or `NAME=FILE`.
      references: The same for references.
      overrides: Path in the config -> text of its value.
      mask: Files.
      ensemble: How many members.
      member: Their names.
      **options: Further fields of `Call`.

    Raises:
      AppError: If an input has no such name, or members are given twice.
    """
    if ensemble is not None and member:
        raise AppError("Members are given by number or by name: got both.")
    return Call(
        verb=verb,
        inputs=_groups(inputs, manifest.inputs, "input"),
        references=_groups(references, manifest.references, "reference"),
        masks=tuple(mask),
        ensemble=tuple(member) if member else ensemble,
        overrides={k: _literal(x) for k, x in (overrides or {}).items()},
        **options,
    )


def parse_labels(texts: Sequence[str]) -> tuple[dict[int, str], dict[int, str]]:
    """Returns names and colours of labels, of texts such as `1=liver:#aa3333`.

    Raises:
      AppError: If a text is another one.
    """
    names: dict[int, str] = {}
    colours: dict[int, str] = {}
    for text in texts:
        number, _, rest = text.partition("=")
        name, _, colour = rest.partition(":")
        is_colour = not colour or (len(colour) == 7 and colour[0] == "#")
        if not number.isdigit() or not name or not is_colour:
            raise AppError(
                f"Labels are numbers and names, `1=liver` or `1=liver:#aa3333`: got "
                f"{text!r}."
            )
        names[int(number)] = name
        if colour:
            colours[int(number)] = colour
    return names, colours


def shown_progress(mode: str) -> Callable[[float, str], None]:
    """Returns what tells how far a call is.

    Args:
      mode: `'auto'` is a line on a terminal that changes, `'lines'` a JSON object per
        line on stdout, `'none'` nothing.

    Raises:
      AppError: If there is no such mode.
    """
    if mode not in _PROGRESS:
        raise AppError(
            f"`--progress` is one of {list(_PROGRESS)}: got {mode!r}."
            f"{errors.did_you_mean(mode, _PROGRESS)}"
        )
    if mode == "lines":
        return _print_line
    return _redraw if mode == "auto" and sys.stderr.isatty() else _ignore


def _ignore(share: float, text: str) -> None:
    del share, text


def _print_line(share: float, text: str) -> None:
    print(json.dumps({"progress": round(share, 4), "message": text}), flush=True)


def _redraw(share: float, text: str) -> None:
    end = "\r" if share < 1 else "\n"
    print(f"\r{share:4.0%}  {text:<40}", end=end, file=sys.stderr, flush=True)


def _groups(
    texts: Sequence[str], ports: Sequence[Port], what: str
) -> dict[str, tuple[str, ...]]:
    names = [port.name for port in ports]
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, separator, path = text.partition("=")
        is_named = bool(separator) and name in names
        if separator and not is_named and not os.path.exists(text) and "/" not in name:
            raise AppError(
                f"`--{what}={text}`: there is no {what} {name!r}, and no file "
                f"{text!r}; there are {names}.{errors.did_you_mean(name, names)}"
            )
        key, value = (name, path) if is_named else ("", text)
        if not value:
            raise AppError(f"`--{what}={text}`: no file is given.")
        found[key] = (*found.get(key, ()), value)
    return found


def _literal(text: Any) -> Any:
    """Returns the value that a text is: JSON, Python, or the text itself."""
    if not isinstance(text, str):
        return text
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError):
            continue
    return text
