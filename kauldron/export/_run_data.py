"""What a run says of the inputs of its model: a batch, transforms, names of classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kauldron._base import console, errors
from kauldron.data import utils as data_utils
from kauldron.ktyping import PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunData:
    """What is known of the inputs.

    Attributes:
      batch: Arrays or specs of a batch, as the pipeline gives it.
      transforms: Of the pipeline, as text.
      labels: Names of the classes; `None` if they are not known.
    """

    batch: PyTree
    transforms: Sequence[str] = ()
    labels: Sequence[str] | None = None

    @property
    def has_values(self) -> bool:
        """Whether the batch is a real one."""
        leaves = jax.tree.leaves(data_utils.numeric(self.batch))
        return all(isinstance(x, np.ndarray | jax.Array) for x in leaves)


def read(ds: Any, element_spec: Any) -> RunData:
    """Returns what a pipeline says; its data may be out of reach.

    Args:
      ds: The pipeline; may be `None`.
      element_spec: Specs of a batch, for when there is none.
    """
    try:
        batch = None if ds is None else next(iter(ds.for_evaluation()), None)
    except (OSError, ImportError, errors.UserError) as e:
        console.warn(
            f"The evaluation data cannot be read ({type(e).__name__}: {e}): inputs are "
            "described by the shapes of the training, and no value is compared."
        )
        batch = None
    source = getattr(ds, "data_source", None)
    labels = getattr(ds, "class_names", None) or getattr(source, "class_names", None)
    transforms = getattr(ds, "transforms", None) or ()
    listed = transforms.values() if isinstance(transforms, Mapping) else transforms
    return RunData(
        batch=element_spec if batch is None else batch,
        transforms=[repr(transform) for transform in listed],
        labels=None if labels is None else list(map(str, labels)),
    )


def sized(inputs: Mapping[str, Any], specs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns rows of a batch, as many as a program takes, in its dtypes.

    Args:
      inputs: Name -> array.
      specs: Name -> what the program takes; one may be without an array.
    """
    found = {}
    for name, spec in specs.items():
        array = np.asarray(inputs[name])
        if spec.shape and isinstance(spec.shape[0], int):
            array = np.resize(array, spec.shape)  # repeats rows if there are too few
        found[name] = array.astype(spec.dtype)
    return found
