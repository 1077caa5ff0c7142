"""Image grids."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import flax.struct
import numpy as np

from kauldron import kontext, metrics, summaries


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageGrid(metrics.Metric):
    """Summaries of images, side by side: a row for each example.

    Attributes:
      columns: Name -> summary of images, from left to right. Their images have one
        height.

    Returns of `compute`: images `Float32["n h w 3"]`: w is the sum of the widths, n the
    smallest number of images. Grey becomes colour where one column has colours.

    Raises:
      ValueError: If there are no columns, or the heights differ.
    """

    columns: Mapping[str, metrics.Metric]

    @flax.struct.dataclass
    class State(metrics.State["ImageGrid"]):
        """The state of each column, by name."""

        states: Any

        @classmethod
        def empty(cls) -> Self:
            return cls(states={})

        def merge(self, other: Self) -> Self:
            if not self.states or not other.states:
                return self if self.states else other
            merged = {n: s.merge(other.states[n]) for n, s in self.states.items()}
            return dataclasses.replace(self, states=merged)

        def finalize(self) -> Self:
            final = {name: state.finalize() for name, state in self.states.items()}
            return dataclasses.replace(self, states=final)

        def compute(self) -> Any:
            images = {name: state.compute() for name, state in self.states.items()}
            images = {n: x for n, x in images.items() if isinstance(x, np.ndarray)}
            if not images:
                return {}
            heights = {name: x.shape[-3] for name, x in images.items()}
            if len(set(heights.values())) > 1:
                raise ValueError(
                    f"ImageGrid needs images of one height: got {heights}. Set `rearrange` "
                    "of a column, or resize what it shows."
                )
            num_rows = min(len(x) for x in images.values())
            num_channels = max(x.shape[-1] for x in images.values())
            rows = [
                np.broadcast_to(x[:num_rows], (num_rows, *x.shape[1:-1], num_channels))
                for x in images.values()
            ]
            return np.concatenate(rows, axis=-2)

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("ImageGrid needs at least one column.")

    @classmethod
    def simple(cls, *, columns: Mapping[str, str], **kwargs: Any) -> Self:
        """Returns a grid of images, each column given by its key.

        Args:
          columns: Name -> key to images `Array["*b h w 1|3"]`.
          **kwargs: Of `kd.summaries.ShowImages`: `num_images`, `in_vrange`, ...
        """
        shown = {
            name: summaries.ShowImages(images=key, **kwargs)
            for name, key in columns.items()
        }
        return cls(columns=shown)

    def __kontext_keys__(self) -> dict[str, Any]:
        return {
            name: {
                k: p for k, p in kontext.get_keypaths(column).items() if p is not None
            }
            for name, column in self.columns.items()
        }

    def get_state(self, **columns: Any) -> Any:
        """Takes the arguments of each column, by its name."""
        states = {
            name: column.get_state(**columns[name])
            for name, column in self.columns.items()
        }
        return self.State(states=states)

    def empty(self) -> Any:
        states = {name: column.empty() for name, column in self.columns.items()}
        return self.State(states=states)
