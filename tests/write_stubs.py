"""Writes what type checkers and editors read of lazy rooms: `make stubs`.

`kd` and most rooms import nothing before it is used, so that their names are not in their
source. A `.pyi` file beside each `__init__` says where every name comes from.
"""

from __future__ import annotations

import importlib
import pathlib
import types
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[1]

_HEAD = '"""What is in the lazy table beside this file; written by `make stubs`."""\n\n'


def stubs() -> dict[pathlib.Path, str]:
    """Returns the text of each stub, by its path."""
    return {_path(name): _text(name) for name in lazy_modules()}


def lazy_modules() -> Iterator[str]:
    """Yields the modules of the package whose names are in a lazy table."""
    for path in sorted((ROOT / "kauldron").rglob("*.py")):
        if path.name not in ("__init__.py", "kd.py", "api.py"):
            continue
        text = path.read_text("utf-8")
        if "lazy.attach(" in text and "TYPE_CHECKING" not in text:
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            if name != "kauldron":
                yield name


def _path(name: str) -> pathlib.Path:
    path = ROOT.joinpath(*name.split("."))
    return path / "__init__.pyi" if path.is_dir() else path.with_suffix(".pyi")


def _text(name: str) -> str:
    module = importlib.import_module(name)
    targets = _targets(module)
    lines = sorted(_line(public, target) for public, target in targets.items())
    names = [f"    {name!r}," for name in sorted(targets)]  # which it offers
    text = "\n".join([*lines, "", "__all__ = [", *names, "]", ""])
    return _HEAD + text.replace("'", '"')


def _targets(module: types.ModuleType) -> dict[str, str]:
    return dict(vars(module)["__getattr__"].targets)


def _line(public: str, target: str) -> str:
    file, _, attribute = target.partition(":")
    if not attribute:
        parent, _, attribute = file.rpartition(".")
        return f"from {parent} import {attribute} as {public}"
    return f"from {file} import {attribute} as {public}"


def main() -> None:
    """Writes all of them, and removes those that are no longer needed."""
    for path, text in stubs().items():
        path.write_text(text, "utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
