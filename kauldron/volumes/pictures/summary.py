"""`ShowVolumes`: volumes of a batch as three slices each, for TensorBoard and notebooks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, metrics
from kauldron.ktyping import Array, PyTree, typechecked
from kauldron.metrics import predicted_classes
from kauldron.volumes.geometry.base import Geometry, Image
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.pictures import views as _views


@flax.struct.dataclass
class _FirstVolumes(metrics.AutoState["ShowVolumes"]):
    """The first volumes, as many as are shown."""

    data: PyTree[Array] = metrics.truncate_field(num_field="parent.num_volumes")

    def compute(self) -> Any:
        """Returns `f32[n h w 3]`; `{}` if there are no volumes."""
        data = super().compute().data
        if data is None or not len(data["images"]):
            return {}
        return self.parent.show(data)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowVolumes(metrics.Metric):
    """The first volumes of a batch (of the first batches), three slices of each.

    Attributes:
      images: Key to volumes, `Array["b z y x c"]`; the first channel is shown.
      labels: Key to true labels, `Int["b z y x 1"]`, drawn as contours.
      pred_labels: Key to predicted labels, `Int["b z y x 1"]`, laid over in colours.
      logits: Key to scores instead, `Float["b z y x c"]`: the highest is the label.
      geometry: Key to the geometry of each volume, as pipelines of volumes give it.
      num_volumes: How many to show.
      in_vrange: Values that are black and white; percentiles of each volume unless given.
      spacing_mm: Without a geometry: the distance of neighbours along (z, y, x).

    Raises:
      VolumeError: If the shapes don't fit, or predictions are given twice.
    """

    images: kontext.Key = kontext.REQUIRED
    labels: kontext.Key | None = None
    pred_labels: kontext.Key | None = None
    logits: kontext.Key | None = None
    geometry: kontext.Key | None = None
    num_volumes: int = 3
    in_vrange: tuple[float, float] | None = None
    spacing_mm: float | Sequence[float] = 1.0

    State = _FirstVolumes

    @typechecked
    def get_state(
        self,
        images: Array["b z y x c"],
        labels: Array["b z y x 1"] | None = None,
        pred_labels: Array["b z y x 1"] | None = None,
        logits: Array["b z y x _"] | None = None,
        geometry: Any = None,
    ) -> _FirstVolumes:
        if logits is not None and pred_labels is not None:
            raise VolumeError("ShowVolumes takes `logits` or `pred_labels`: got both.")
        if logits is not None:
            pred_labels = predicted_classes.best_class(logits)
        data = {"images": images, "labels": labels, "preds": pred_labels}
        data = {
            k: jnp.asarray(x)[: self.num_volumes, ..., 0]
            for k, x in data.items()
            if x is not None
        }
        if geometry is not None:
            data["matrix"] = jnp.asarray(geometry["matrix"])[: self.num_volumes]
        return self.State(data=data)

    def show(self, data: dict[str, np.ndarray]) -> np.ndarray:
        """Returns `f32[n h w 3]` in [0, 1], smaller pictures filled up with black."""
        pictures = []
        for i, gray in enumerate(data["images"]):
            geometry = Geometry.make(self.spacing_mm)
            if "matrix" in data:
                geometry = Geometry(matrix=data["matrix"][i], origin=np.zeros(3))
            drawn = _views.views(
                Image(gray, geometry),
                labels=data["preds"][i] if "preds" in data else None,
                contours=[data["labels"][i]] if "labels" in data else (),
                vrange=self.in_vrange,
            )
            pictures.append(drawn.array)
        height, width = (max(p.shape[i] for p in pictures) for i in (0, 1))
        fill = [((0, height - p.shape[0]), (0, width - p.shape[1])) for p in pictures]
        return np.stack(
            [np.pad(p, (*f, (0, 0))) for p, f in zip(pictures, fill, strict=True)]
        )
