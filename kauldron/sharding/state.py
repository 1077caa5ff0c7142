"""`TrainState`: everything that a training step updates."""

from __future__ import annotations

import math

import flax.struct
import jax
import jax.core

from kauldron._base import text_tables
from kauldron.ktyping import PyTree, ScalarInt


@flax.struct.dataclass(kw_only=True)
class TrainState:
    """The state of a run between two steps.

    Attributes:
      step: Number of updates applied so far.
      params: Parameters of the model.
      collections: The other Flax variable collections (such as `batch_stats`).
      opt_state: State of the optimizer; `None` without one.
    """

    step: ScalarInt
    params: PyTree = None
    collections: PyTree = None
    opt_state: PyTree = None

    def __repr__(self) -> str:
        """Counts: the numbers themselves are pages long, and on devices."""
        parts = [f"step={_show_step(self.step)}"]
        for name in ("params", "collections", "opt_state"):
            arrays = [x for x in jax.tree.leaves(getattr(self, name)) if _is_array(x)]
            if arrays:
                numbers = sum(math.prod(x.shape) for x in arrays)
                size = sum(math.prod(x.shape) * x.dtype.itemsize for x in arrays)
                counts = (
                    f"{_count(numbers, 'number')} in {_count(len(arrays), 'array')}"
                )
                parts.append(f"{name}: {counts}, {text_tables.format_bytes(size)}")
        return f"{type(self).__name__}({'; '.join(parts)})"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _is_array(x: object) -> bool:
    return hasattr(x, "shape") and hasattr(x, "dtype")


def _show_step(step: object) -> str:
    if not isinstance(step, jax.Array) or isinstance(step, jax.core.Tracer):
        return str(step)
    if step.is_deleted() or not step.is_fully_replicated:
        return "used up" if step.is_deleted() else "on several devices"
    with jax.transfer_guard("allow"):
        return str(step)
