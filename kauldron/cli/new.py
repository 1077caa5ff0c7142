"""`kauldron new NAME`: a project of one's own that runs at once."""

from __future__ import annotations

import importlib.resources
import keyword
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from kauldron.cli import _flags, command_runner

# The name that stands for the project's, in the files of the template and in their names.
_PLACEHOLDER = "PACKAGE"
_ENDING = ".txt"  # so that nothing takes them for code of ours


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """Writes a project: a config, a dataset, a model, tests that pass."""

    def work(command: _flags.CommandLine) -> None:
        if not command.positional:
            raise _flags.UsageError("Say what it is called: `kauldron new myproject`.")
        name = command.positional[0]
        _check_name(name)
        folder = pathlib.Path(command["out"] or name)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise _flags.UsageError(
                f"{str(folder)!r} is there already: name another, or give --out=DIR."
            )
        for path, text in _files(name):
            target = folder / path
            with command_runner.writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, "utf-8")
            print(target)
        print(
            f"\nNext: cd {folder} && make test, then make train. "
            f"{folder / 'README.md'} says what is where."
        )

    return _flags.run("new", work, argv, flag_values)


def _check_name(name: str) -> None:
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise _flags.UsageError(
            f"{name!r} is to be a Python package: small letters, digits and _, such as "
            "'my_project'."
        )
    if name in sys.stdlib_module_names or name in ("kauldron", "tests", "configs"):
        raise _flags.UsageError(
            f"{name!r} is the name of something else: take another."
        )


def _files(name: str) -> Iterator[tuple[pathlib.PurePath, str]]:
    root = importlib.resources.files("kauldron.cli") / "project_template"
    for path, file in _walk(root, pathlib.PurePath()):
        target = str(path).removesuffix(_ENDING).replace(_PLACEHOLDER, name)
        target = ".gitignore" if target == "gitignore" else target
        yield (
            pathlib.PurePath(target),
            file.read_text("utf-8").replace(_PLACEHOLDER, name),
        )


def _walk(
    folder: Any, path: pathlib.PurePath
) -> Iterator[tuple[pathlib.PurePath, Any]]:
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_dir():
            yield from _walk(entry, path / entry.name)
        elif entry.name.endswith(_ENDING):
            yield path / entry.name, entry
