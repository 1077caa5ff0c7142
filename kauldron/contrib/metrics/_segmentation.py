"""Object segmentation metrics."""

from __future__ import annotations

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp

from kauldron import kontext, metrics
from kauldron.ktyping import Array, typechecked
from kauldron.metrics import base_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationJaccard(metrics.Metric):
    """Mean intersection over union of the objects of an example, over all examples.

    Over the classes that an example's truth or prediction has, each example with the
    weight of one. (`kd.metrics.MeanIou` adds up regions over the whole dataset.)

    Attributes:
      preds: Key to predicted class ids, `Int["*b h w 1"]`.
      targets: Key to true class ids of the same shape.
      mask: Key to weights of the examples, `Array["*b"]` or `Array["*b 1 1 1"]`.
      num_classes: Number of classes, >= 1; pixels of others count for none.
      ignore_background: Whether class 0 is left out.

    Raises:
      ValueError: If the shapes don't fit.
    """

    preds: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    num_classes: int
    ignore_background: bool = False

    @flax.struct.dataclass
    class State(metrics.AverageState):
        pass

    @typechecked
    def get_state(
        self,
        preds: Array["*a"],
        targets: Array["*a"],
        mask: Array | float | None = None,
    ) -> State:
        if preds.shape != targets.shape or preds.ndim < 3 or preds.shape[-1] != 1:
            raise ValueError(
                "SegmentationJaccard needs class ids `i[*b h w 1]`: got "
                f"{preds.shape} (key {self.preds!r}) and {targets.shape} (key "
                f"{self.targets!r})."
            )
        classes = jnp.arange(int(self.ignore_background), self.num_classes)
        # Compared in i32: ids in bytes would wrap.
        both = [jnp.asarray(x).astype(jnp.int32) == classes for x in (preds, targets)]
        intersection = _area(both[0] & both[1])
        union = _area(both[0] | both[1])
        iou = intersection / jnp.maximum(union, 1)
        num_objects = (union > 0).sum(axis=-1)
        values = iou.sum(axis=-1) / jnp.maximum(num_objects, 1)
        counts = num_objects > 0
        if mask is not None:
            mask = jnp.asarray(mask)
            mask = mask.reshape(mask.shape[: values.ndim])
            counts = base_state.broadcast_mask(mask, values.shape) * counts
        return self.State.from_values(values, mask=counts)


def _area(regions: jax.Array) -> jax.Array:
    return regions.sum(axis=(-3, -2), dtype=jnp.float32)
