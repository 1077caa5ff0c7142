"""`Result`: what a call gave, as files in a folder and a `result.json` beside them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from kauldron.apps.bundles._json_fields import Fields
from kauldron.apps.bundles.errors import AppError

FILE = "result.json"
VERSION = 1

_MAX_SHOWN = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResultFile:
    """A file that a call gave.

    Attributes:
      path: Inside of the result's folder, with `/`.
      kind: As of a port: `image`, `table`, ...; `app` is a new app.
      output: Name of the output that it is of.
      case: Name of the case; `None` if it is of all.
    """

    path: str
    kind: str
    output: str
    case: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a call gave.

    The same call of the same app on the same machine gives the same bytes: there are no
    times and no other folders in it.

    Attributes:
      out: The folder.
      verb: What was done.
      app: Name and version of the app.
      applied: What was done in detail: `members`, `tta`, `mc`, `overrides`.
      cases: Their names, in order.
      files: What was written.
      values: Numbers and texts: `cases`, by name, and `overall`; of a fine-tuning, `app`,
        `training` (what was logged last), and `evaluation` of the new app.
    """

    out: pathlib.Path
    verb: str
    app: Mapping[str, str]
    applied: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cases: tuple[str, ...] = ()
    files: tuple[ResultFile, ...] = ()
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def path(self, file: ResultFile) -> pathlib.Path:
        """Returns where a file of it is."""
        return self.out / file.path

    def describe(self) -> str:
        """Returns what was written, and the values, a line per thing."""
        lines = [os.fspath(self.path(file)) for file in self.files]
        for case, values in list(self.values.get("cases", {}).items())[:_MAX_SHOWN]:
            lines.append(f"{case}: {_in_words(values)}")
        for name, values in self.values.items():
            if values and name != "cases":
                lines.append(f"{name}: {_in_words(values)}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Returns what JSON can hold; without the folder, which may be moved."""
        return {
            "format_version": VERSION,
            "verb": self.verb,
            "app": dict(self.app),
            "applied": dict(self.applied),
            "cases": list(self.cases),
            "files": [dict(vars(file)) for file in self.files],
            "values": dict(self.values),
        }

    def to_bytes(self) -> bytes:
        """Returns what is in `result.json`."""
        return f"{_in_lines(self.to_json(), '')}\n".encode()


class OutFolder:
    """Takes the files of a result, into a new or empty folder.

    Attributes:
      path: The folder.

    Raises:
      AppError: If it has files, is a file, or cannot be written.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.path = make_out(out)

    def make_folder(self, name: str) -> pathlib.Path:
        """Returns a folder in it."""
        (self.path / name).mkdir(exist_ok=True)
        return self.path / name

    def write(self, name: str, content: bytes) -> None:
        """Writes a file; its name has `/`."""
        file = self.path / name
        if "/" in name:
            file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


class OutMemory:
    """Takes the files of a result as `OutFolder` does, and writes none.

    Attributes:
      path: Stands for the folder.
      files: Name with `/` -> bytes.
    """

    path = pathlib.Path("out")

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def make_folder(self, name: str) -> pathlib.Path:
        """Returns what stands for a folder in it."""
        return self.path / name

    def write(self, name: str, content: bytes) -> None:
        """Keeps a file."""
        self.files[name] = content


def make_out(out: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the folder of results, which is made if it is not there.

    Raises:
      AppError: If it has files, is a file, or cannot be written.
    """
    folder = pathlib.Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise AppError(
                f"The folder {os.fspath(out)!r} has files in it: choose a new or an "
                "empty one."
            )
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as e:
        raise AppError(
            f"Results cannot be written to {os.fspath(out)!r}: {e.strerror or e}."
        ) from e
    return folder


@contextlib.contextmanager
def removed_if_nothing_came(out: str | os.PathLike[str]) -> Iterator[None]:
    """Removes, after an error, the folders that were made for results and are empty."""
    folder = pathlib.Path(out)
    missing: list[pathlib.Path] = []
    is_new = False
    with contextlib.suppress(OSError):  # which `make_out` tells
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        is_new = bool(missing) or not any(folder.iterdir())
    try:
        yield
    except BaseException:
        inside = [x for x in folder.rglob("*") if x.is_dir()] if is_new else []
        for path in (*sorted(inside, reverse=True), *missing):
            with contextlib.suppress(OSError):  # it has files
                path.rmdir()
        raise


def read_result(out: str | os.PathLike[str]) -> Result:
    """Returns the result that is in a folder.

    Raises:
      AppError: If there is none.
    """
    folder = pathlib.Path(out)
    try:
        entry = json.loads((folder / FILE).read_text("utf-8"))
    except FileNotFoundError:
        raise AppError(f"There is no result in {os.fspath(out)!r}.") from None
    except ValueError as e:
        raise AppError(f"The result in {os.fspath(out)!r} is damaged: {e}.") from None
    fields = Fields(entry, f"the {FILE} in {os.fspath(out)!r}")
    return Result(
        out=folder,
        verb=fields.take("verb", str),
        app=fields.take("app", dict),
        applied=fields.take("applied", dict),
        cases=fields.texts("cases"),
        files=tuple(_file(x) for x in fields.take("files", list)),
        values=fields.take("values", dict),
    )


# Not `indent`: with it, `json` does without its encoder in C.
_encode = json.JSONEncoder(ensure_ascii=False).encode
_encode_text = json.encoder.encode_basestring


def _in_lines(value: Any, indent: str) -> str:
    """Returns a value as JSON: a line for each part that has no further parts."""
    inside = f"{indent} "
    if isinstance(value, dict) and not all(map(_is_plain, value.values())):
        parts = [f"{_encode_text(k)}: {_in_lines(x, inside)}" for k, x in value.items()]
    elif isinstance(value, list) and not all(map(_is_plain, value)):
        parts = [_in_lines(x, inside) for x in value]
    else:
        return _encode(value)
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return f"{begin}\n{inside}" + f",\n{inside}".join(parts) + f"\n{indent}{end}"


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return not any(isinstance(x, dict | list) for x in value)
    return not isinstance(value, dict) or not value


def _in_words(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} ({_in_words(x)})" if isinstance(x, Mapping) else f"{name} {x}"
        for name, x in values.items()
    )


def _file(entry: object) -> ResultFile:
    fields = Fields(entry, "a file of a result")
    path = fields.take("path", str)
    parts = pathlib.PurePosixPath(path).parts
    if not parts or ".." in parts or parts[0] == "/" or "\\" in path:
        raise AppError(f"Files of a result are in its folder: got {path!r}.")
    return ResultFile(
        path=path,
        kind=fields.take("kind", str),
        output=fields.take("output", str),
        case=fields.optional("case", str),
    )
