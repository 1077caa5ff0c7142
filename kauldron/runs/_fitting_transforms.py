"""Transforms of another pipeline that elements can go through, found by trying."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kauldron import data

# The name of the file of an image, as a key of its element.
FILE_KEY = "file"


class Fitting(NamedTuple):
    """What `fitting_transforms` has found.

    Attributes:
      transforms: Those that elements can go through.
      element: What they make of the element that was tried.
      left_out: Those that want a key which there is not, as text.
    """

    transforms: list[Any]
    element: Any
    left_out: list[str]


def fitting_transforms(transforms: Any, element: Any) -> Fitting:
    """Returns the transforms that elements with some keys can go through.

    An element goes through one after the other: only so is it known which keys a function
    of the user makes. One that wants a key which is not there, such as that of labels, is
    left out.

    Args:
      transforms: Those of another pipeline, a list or a dict.
      element: One of the elements; all transforms are kept if it is no dict.
    """
    listed = transforms.values() if isinstance(transforms, Mapping) else transforms
    # It chooses among the examples of the other dataset.
    listed = [t for t in listed if not isinstance(t, data.py.SliceDataset)]
    fitting = Fitting([], element, [])
    for transform in listed:
        fitting = _try(transform, fitting)
    return fitting


def _try(transform: Any, fitting: Fitting) -> Fitting:
    kept, element, left_out = fitting
    is_tried = isinstance(element, Mapping)
    if not is_tried or isinstance(
        transform, data.BatchTransform | data.FilterTransform
    ):
        return Fitting([*kept, transform], element, left_out)
    if isinstance(transform, data.Elements):
        transform = _restrict(transform, element)
    try:
        made = _mapped(transform, element)
    except KeyError:
        return Fitting(kept, element, [*left_out, repr(transform)])
    return Fitting([*kept, transform], made, left_out)


def _mapped(transform: Any, element: Any) -> Any:
    options = {"batch_size": None, "num_epochs": 1, "shuffle": False, "seed": 0}
    return data.py.DataSource([element], transforms=[transform], **options)[0]


def _restrict(transform: data.Elements, names: Mapping[str, Any]) -> data.Elements:
    """Returns an `Elements` without the keys that there are not."""
    keep: Sequence[str] = [key for key in transform.keep if key in names]
    if keep and FILE_KEY in names:
        keep = [*keep, FILE_KEY]
    return dataclasses.replace(
        transform,
        keep=keep,
        drop=[key for key in transform.drop if key in names],
        rename={k: v for k, v in transform.rename.items() if k in names},
        copy={k: v for k, v in transform.copy.items() if k in names},
    )
