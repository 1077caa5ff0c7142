"""Transforms of somebody's own: code outside of Kauldron that a run may name."""

from __future__ import annotations

import numpy as np

from kauldron import kd
from tests.apps.verbs import table_run


class BatchOfRows(kd.data.BatchTransform):
    """Makes the input of whole batches."""

    def map_batch(self, batch, draws):
        del draws
        x = np.stack([batch[name] for name in table_run.COLUMNS], -1)
        return {"x": x.astype("f4"), "price": batch["price"][:, None].astype("f4")}
