"""Makes the reference pages of the site: one for each room, from its public names."""

from __future__ import annotations

import importlib
import inspect
import operator
import re
import types
from collections.abc import Iterator
from typing import Any

from mkdocs.structure.files import File, Files

from kauldron import kd

# Rooms of `kd` in the order of the reference.
_ROOM_NAMES = """
konfig kontext train data data.py nn losses metrics metrics.networks optim summaries
evals ckpts ckpts.pretrained sharding random ktyping inspect testing export contrib
contrib.checkpoints contrib.data contrib.data.py contrib.evals contrib.knnx contrib.losses
contrib.metrics contrib.nn contrib.summaries contrib.train lm serve rl volumes
volumes.augment volumes.transforms volumes.losses volumes.metrics launch apps tracking
tracking.tune cli
"""
ROOMS = tuple(_ROOM_NAMES.split())
# An argument in a signature that users don't give, such as `_inherited_from_root=dict()`.
_PRIVATE = re.compile(
    r'^ *<span class="n">_\w+</span><span class="o">=</span>.*\n', re.MULTILINE
)


def on_config(config: Any) -> Any:
    """Lists the pages of the reference in the navigation."""
    pages: list[Any] = ["reference/index.md"]
    pages += [{f"kd.{name}": f"reference/{name}.md"} for name in ROOMS]
    config.nav = [
        {"Reference": pages} if "Reference" in entry else entry for entry in config.nav
    ]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages of the reference to those in the folder."""
    summaries = []
    for name in ROOMS:
        room = operator.attrgetter(name)(kd)
        summary = (inspect.getdoc(room) or "").partition("\n")[0]
        summaries.append(f"| [`kd.{name}`]({name}.md) | {summary} |")
        files.append(
            _page(config, f"reference/{name}.md", "\n".join(_room(name, room)))
        )
    index = ["# Reference", "", "| room | |", "|---|---|", *summaries, ""]
    files.append(_page(config, "reference/index.md", "\n".join(index)))
    return files


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Takes private arguments out of the signatures of the reference."""
    if not page.file.src_uri.startswith("reference/"):
        return html
    return _PRIVATE.sub("", html)


def names_of(room_name: str) -> list[str]:
    """Returns the public names of a room that have their place on its page."""
    room = operator.attrgetter(room_name)(kd)
    outer_name, _, _ = room_name.rpartition(".")
    outer = operator.attrgetter(outer_name)(kd) if outer_name else None
    values = {name: getattr(room, name) for name in room.__all__}
    return [
        name
        for name, value in values.items()
        if _is_documented(value) and getattr(outer, name, None) is not value
    ]


def _page(config: Any, path: str, content: str) -> File:
    return File.generated(config, path, content=content)


def _room(name: str, room: types.ModuleType) -> Iterator[str]:
    yield f"# `kd.{name}`"
    yield ""
    yield inspect.getdoc(room) or ""
    yield ""
    for public in names_of(name):
        yield f"::: {_where(room, public)}"
        yield "    options:"
        yield f"      heading: kd.{name}.{public}"
        yield f"      toc_label: {public}"
        yield ""


def _is_documented(value: Any) -> bool:
    is_ours = getattr(value, "__module__", "").startswith("kauldron")
    return is_ours and (inspect.isclass(value) or inspect.isroutine(value))


def _where(room: types.ModuleType, name: str) -> str:
    """Returns where a name is defined, for a reader of source files."""
    targets = getattr(getattr(room, "__getattr__", None), "targets", {})
    target = targets.get(name)
    if target is None:
        return f"{room.__name__}.{name}"
    file, _, attribute = target.partition(":")
    if attribute and file != room.__name__:
        module = importlib.import_module(file)
        inner = getattr(getattr(module, "__getattr__", None), "targets", {})
        if attribute in inner:
            return inner[attribute].replace(":", ".")
    return f"{file}.{attribute}" if attribute else file
