"""`load`: from a name, a folder or a GGUF file to model, parameters and tokenizer."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from kauldron import data
from kauldron import modules as nn
from kauldron._base import errors
from kauldron.ktyping import PyTree
from kauldron.lm.models import _errors, _published
from kauldron.lm.text import gguf_files
from kauldron.lm.text._tokenizer import Tokenizer

# Names that `kauldron data fetch` gets.
_NAMES = ("smollm2",)


def find(name_or_path: str | os.PathLike[str]) -> _published.PublishedModel:
    """Returns a published model, of which only config or header are read.

    Args:
      name_or_path: A name that `kauldron data fetch` knows, such as `"smollm2"`, which is
        fetched the first time; a Hugging Face folder; or a GGUF file.

    Raises:
      ModelError: If there is no such model, or its family is not known.
    """
    path = pathlib.Path(name_or_path)
    if os.fspath(name_or_path) in _NAMES:
        path = data.fetch(os.fspath(name_or_path))
    if not path.exists():
        raise _errors.ModelError(
            f"There is no model {os.fspath(name_or_path)!r}: it is no folder, no GGUF "
            f"file, and none of the names {', '.join(_NAMES)}."
            f"{errors.did_you_mean(os.fspath(name_or_path), _NAMES)}"
        )
    if path.is_dir():
        ggufs = sorted(path.glob(f"*{gguf_files.SUFFIX}"))
        if len(ggufs) == 1 and not (path / _published.CONFIG).exists():
            path = ggufs[0]
    return _published.PublishedModel.open(path)


def load(
    name_or_path: str | os.PathLike[str], *, sharding: Any = None, **options: Any
) -> tuple[nn.CausalLM, PyTree, Tokenizer]:
    """Returns model, parameters and tokenizer.

    Args:
      name_or_path: See `find`.
      sharding: Where parameters go, see `PublishedModel.params`.
      **options: Of the model, see `PublishedModel.model`; `tokens` is `"batch.tokens"`
        unless given.

    Raises:
      ModelError: If there is no such model, or its family is not known.
      CheckpointError: If its files are damaged, or do not fit the family.
      TokenizerError: If its tokenizer cannot be read.

    Example:

    ```python
    model, params, tokenizer = kd.lm.load("smollm2")
    logits = model.apply({"params": params}, tokens=tokens)["logits"]
    ```
    """
    published = find(name_or_path)
    tokenizer = published.tokenizer()
    model = published.model(**({"tokens": "batch.tokens"} | options))
    return model, published.params(model, sharding=sharding), tokenizer
