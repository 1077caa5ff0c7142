"""A program that trains a few steps of a config, and measures what they take at most.

    python tests/inspect/measured_peak.py examples/digits_vit.py [factor of batch_size]

What is measured: the bytes of state and of two batches, exactly, and by how much the
resident memory of the process rises above that during a step, at most, in the middle one
of seven steps (Linux: `VmHWM`, which is reset before each).
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import pathlib
import re
import sys

# Freed memory goes back at once, so that each step starts from the same level.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "1",
    "XLA_FLAGS": "",
    # Each measurement compiles anew, whatever ran before.
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "MALLOC_MMAP_THRESHOLD_": "65536",
}


def main(path: str, factor: int) -> dict[str, int]:
    import jax

    from kauldron import kd, konfig, sharding
    from kauldron.data import utils as data_utils

    cfg = konfig.load_config_file(path)
    cfg.train_ds.batch_size = cfg.train_ds.batch_size * factor
    trainer = konfig.resolve(cfg)
    memory = kd.inspect.estimate_memory(trainer)
    estimated = kd.inspect.estimate_memory(trainer, compiles=False)
    state = jax.jit(trainer.init_state)()
    batches = iter(trainer.train_ds)
    host = [data_utils.for_devices(next(batches)) for _ in range(2)]
    batches.close()
    batch, ahead = (sharding.device_put(x, trainer.sharding.batch) for x in host)
    rises = []
    for _ in range(9):
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        state, aux = trainer.trainstep.step(
            state, batch, return_losses=True, return_metrics=True
        )
        jax.block_until_ready((state, aux))
        rises.append(_status("VmHWM") - before)
    held = sum(x.nbytes for x in jax.tree.leaves((state, batch, ahead)))
    return {
        "measured": held + sorted(rises[2:])[3],
        "compiled": memory.peak_num_bytes,
        "estimated": estimated.peak_num_bytes,
    }


def _status(name: str) -> int:
    text = pathlib.Path("/proc/self/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    sys.path.insert(0, os.getcwd())
    print(json.dumps(main(sys.argv[1], int([*sys.argv[2:], "1"][0]))))
