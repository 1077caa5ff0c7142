"""Region losses."""

from __future__ import annotations

import dataclasses

from kauldron import losses


@dataclasses.dataclass(frozen=True, kw_only=True)
class IoULoss(losses.TverskyLoss):
    """One minus the intersection over union of regions, of every example and class.

    `1 - (TP + smooth) / (TP + FP + FN + smooth)`, with sums over space.

    Attributes:
      logits: Key to scores, `Float["b *space c"]`.
      labels: Key to the true regions: one-hot or multi-hot of the same shape, or class
        ids `Int["b *space 1"]`.
      region_mask: Key to the places that count, `Array["b *space"]` or
        `Array["b *space 1|c"]`.
      activation: What makes the scores probabilities; `None` if they are.
      smooth: Added above and below, in places.

    Reference: Rahman and Wang 2016, Optimizing Intersection-Over-Union in Deep Neural
    Networks for Image Segmentation.
    """

    alpha: float = 1.0
    beta: float = 1.0
