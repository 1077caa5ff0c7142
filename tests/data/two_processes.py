"""One of two JAX processes: prints what it sees of the same pipelines, as JSON."""

from __future__ import annotations

import json
import sys

import jax
import numpy as np

from kauldron import kd


class KeepMost(kd.data.FilterTransform):
    def filter(self, element):
        return element["x"] % 5 != 2


def pipelines():
    """Returns pipelines by name."""
    common = {"shuffle": True, "batch_size": 4, "seed": 0, "num_epochs": 1}
    arrays = {"x": np.arange(18)}
    return {
        "training": kd.data.py.DataSource(arrays, **common),
        "evaluation": kd.data.py.DataSource(arrays, **common).for_evaluation(),
        "filtered": kd.data.py.DataSource(
            arrays, transforms=[KeepMost()], **common
        ).for_evaluation(),
    }


def batches_on_devices(ds):
    """Returns the values of each global batch."""
    batches = []
    for batch in ds.device_put():
        x = batch["x"]
        total = jax.jit(lambda x: x.sum(), out_shardings=kd.sharding.REPLICATED)(x)
        local = {
            int(v) for shard in x.addressable_shards for v in np.asarray(shard.data)
        }
        batches.append(
            {"shape": list(x.shape), "sum": int(total), "local": sorted(local)}
        )
    return batches


if __name__ == "__main__":
    port, process_id = sys.argv[1:]
    jax.distributed.initialize(
        f"localhost:{port}", num_processes=2, process_id=int(process_id)
    )
    seen = {name: batches_on_devices(ds) for name, ds in pipelines().items()}
    print("SEEN " + json.dumps(seen))
