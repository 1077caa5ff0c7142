"""Where a model is: a name, a folder, a GGUF file, or the workdir of a run."""

from __future__ import annotations

import os
import pathlib

from kauldron import data
from kauldron._base import errors
from kauldron.lm.loading import _workdir_model
from kauldron.lm.models import _errors, _published
from kauldron.lm.text import gguf_files

# Names that `kauldron data fetch` gets.
NAMES = ("smollm2",)
_KINDS = (
    "A Hugging Face folder has 'config.json', 'tokenizer.json' and '*.safetensors'; the "
    "workdir of a run has 'config.py'; a model may also be a GGUF file, or a folder with "
    "one."
)
_MAX_SEEN = 4


def find_path(name_or_path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns where a model is; what has a name is fetched the first time.

    Raises:
      ModelError: If there is nothing.
    """
    name = os.fspath(name_or_path)
    if name in NAMES:
        return data.fetch(name)
    if not pathlib.Path(name).exists():
        known = ", ".join(map(repr, NAMES))
        raise _errors.ModelError(
            f"There is no model {name!r}: it is no folder, no file, and none of the names "
            f"{known}.{errors.did_you_mean(name, NAMES)}"
        )
    return pathlib.Path(name)


def published_path(path: pathlib.Path) -> pathlib.Path:
    """Returns the Hugging Face folder, or the GGUF file, that a path leads to.

    Raises:
      ModelError: If it leads to none; tells what is there instead.
    """
    if path.is_file():
        if path.suffix == gguf_files.SUFFIX:
            return path
        raise _errors.ModelError(
            f"{str(path)!r} is a file, and no GGUF file: name the folder of the model. "
            f"{_KINDS}"
        )
    if (path / _published.CONFIG).is_file():
        return path
    if _workdir_model.is_workdir(path):
        raise _errors.ModelError(
            f"{str(path)!r} is the workdir of a run, and no published model: "
            "`kd.lm.load` reads its checkpoint."
        )
    ggufs = sorted(path.glob(f"*{gguf_files.SUFFIX}"))
    if len(ggufs) == 1:
        return ggufs[0]
    if ggufs:
        raise _errors.ModelError(
            f"{str(path)!r} has several GGUF files: name one of "
            f"{', '.join(repr(str(file)) for file in ggufs[:_MAX_SEEN])}."
        )
    raise _errors.ModelError(
        f"There is no model in {str(path)!r}: it has {_seen(path)}. {_KINDS}"
    )


def _seen(folder: pathlib.Path) -> str:
    names = sorted(file.name for file in folder.iterdir())
    shown = [repr(name) for name in names[:_MAX_SEEN]]
    if len(names) > _MAX_SEEN:
        shown.append(f"{len(names) - _MAX_SEEN} more")
    return " and ".join(", ".join(shown).rsplit(", ", 1)) if shown else "nothing in it"
