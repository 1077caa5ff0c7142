"""The model of a run: its decoder, the parameters of a checkpoint, and its tokenizer."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kauldron import modules as nn
from kauldron import runs, workdir
from kauldron.ktyping import PyTree
from kauldron.lm.models._errors import ModelError
from kauldron.lm.text._tokenizer import Tokenizer
from kauldron.lm.tuning._causal_lm import causal_lm

TOKENIZER = "tokenizer"
_MAX_DEPTH = 12


def is_workdir(path: pathlib.Path) -> bool:
    """Whether a folder is that of a run, rather than a published model."""
    return (path / workdir.workdirs.PYTHON_FILE).exists()


def load(
    path: pathlib.Path, trusted: Iterable[str] = ()
) -> tuple[nn.CausalLM, PyTree, Tokenizer]:
    """Returns model, parameters and tokenizer of a run's last checkpoint.

    The tokenizer is that of the run's data, or in its folder `tokenizer`. Updates of a
    `kd.lm.LoRA` are in the parameters.

    Args:
      path: The workdir.
      trusted: Packages whose names its config may use, see `konfig.load`; that of a run
        of your own may use all.

    Raises:
      ModelError: If its model is no decoder, or it has no tokenizer.
    """
    predictor = runs.Predictor.from_workdir(path, trusted=trusted)
    try:
        model, params = causal_lm(predictor.trainer.model, predictor.state)
    except TypeError as e:
        raise ModelError(f"The run {str(path)!r}: {e}") from e
    return model, params, _tokenizer(path, predictor.trainer)


def _tokenizer(path: pathlib.Path, trainer: Any) -> Tokenizer:
    if (path / TOKENIZER).is_dir():
        return Tokenizer.from_folder(path / TOKENIZER)
    found = dict.fromkeys(_tokenizers(trainer, _MAX_DEPTH))
    if len(found) == 1:
        return next(iter(found))
    number = "none" if not found else f"{len(found)} of them"
    raise ModelError(
        f"The run {str(path)!r} must have one tokenizer in its data, and there is "
        f"{number}: write the right one with `tokenizer.save({str(path / TOKENIZER)!r})`."
    )


def _tokenizers(value: Any, depth: int) -> Iterator[Tokenizer]:
    """Yields the tokenizers among the fields of objects, of lists and of dicts."""
    if isinstance(value, Tokenizer):
        yield value
    elif depth == 0:
        return
    elif isinstance(value, Mapping):
        for x in value.values():
            yield from _tokenizers(x, depth - 1)
    elif isinstance(value, list | tuple):
        for x in value:
            yield from _tokenizers(x, depth - 1)
    elif dataclasses.is_dataclass(value):
        # Sources that make their own offer it as a property.
        names = {"tokenizer", *(field.name for field in dataclasses.fields(value))}
        for name in sorted(names):
            yield from _tokenizers(getattr(value, name, None), depth - 1)
