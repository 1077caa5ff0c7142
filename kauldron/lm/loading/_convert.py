"""`convert`: from any place that a model is loaded from to a Hugging Face folder."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable

import jax
import jax.numpy as jnp

from kauldron._base import errors
from kauldron.lm.loading import _load
from kauldron.lm.models import _errors, _published

_DTYPES = ("float32", "bfloat16", "float16")


def convert(
    name_or_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    trusted: Iterable[str] = (),
    overwrite: bool = False,
) -> pathlib.Path:
    """Writes a model as a folder in the layout of Hugging Face.

    Args:
      name_or_path: What `load` takes.
      out: The folder.
      dtype: Of the weights: `"float32"`, `"bfloat16"` or `"float16"`.
      trusted: As of `load`.
      overwrite: Whether files that are in the folder may be replaced.

    Raises:
      ModelError: If there is no such model, it is of no published family, the folder is
        taken, or there is no such dtype. Nothing is written then.
    """
    if dtype not in _DTYPES:
        raise _errors.ModelError(
            f"`dtype` must be one of {', '.join(_DTYPES)}: got {dtype!r}."
            f"{errors.did_you_mean(dtype, _DTYPES)}"
        )
    path = pathlib.Path(out)
    if path.exists() and not overwrite and (path.is_file() or any(path.iterdir())):
        raise _errors.ModelError(
            f"{str(path)!r} exists already. Say another folder, or `--overwrite`."
        )
    generator = _load.text_generator(name_or_path, trusted=trusted)
    params = generator.params
    if dtype != "float32":
        params = jax.tree.map(lambda x: x.astype(jnp.dtype(dtype)), params)
    return _published.save(
        path,
        generator.model,
        params,
        generator.tokenizer,
        context_length=generator.context_length or 2048,
    )


def read_text(path: str | os.PathLike[str]) -> str:
    """Returns the text of a file.

    Raises:
      ModelError: If it cannot be read, is no UTF-8, or is empty.
    """
    try:
        text = pathlib.Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise _errors.ModelError(
            f"{os.fspath(path)!r} cannot be read as text: {e}."
        ) from e
    if not text:
        raise _errors.ModelError(f"{os.fspath(path)!r} is empty: there is no text.")
    return text
