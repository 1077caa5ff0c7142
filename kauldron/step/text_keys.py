"""Key reports about text columns of a batch, which never reach a step."""

from __future__ import annotations

import dataclasses
from typing import Any

from kauldron import data, kontext
from kauldron.data import utils as data_utils


def tell_texts(
    problems: list[kontext.KeyProblem], ds: data.IterableDataset
) -> list[kontext.KeyProblem]:
    """Explains keys that are missing on the devices because they hold text."""
    told = []
    for p in problems:
        key = p.path.removeprefix("batch.")
        is_text = key != p.path and data_utils.holds_texts(ds.element_spec, key)
        if p.kind == "missing" and is_text:
            p = dataclasses.replace(
                p,
                nearest=(),
                found="",
                detail=f"{key!r} holds texts, which stay on the host: devices hold "
                "numbers only. Make numbers of them with one of the `transforms`: a "
                f"tokenizer, or `kd.data.Cast(key={key!r}, dtype='float32')` where they "
                "spell numbers.",
            )
        told.append(_list_texts(p, ds.element_spec))
    return told


def _list_texts(p: kontext.KeyProblem, element_spec: Any) -> kontext.KeyProblem:
    """Adds text columns to the listed contents of a batch: devices don't have them."""
    if p.kind != "missing" or p.resolved != "batch" or not p.found:
        return p
    names = data_utils.names_of_texts(element_spec)
    if not names:
        return p
    found = f"{p.found.removesuffix('.')}; on the host only, as texts or dates: {', '.join(names)}."
    return dataclasses.replace(p, found=found)
