"""Contributed components: tested like the core, but with no promise of stability.

What the core has itself is here under its published name, too. `kd.contrib.metrics`, and
so on: each is imported when it is first used.
"""

from __future__ import annotations

from kauldron._base import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "checkpoints": "kauldron.contrib.checkpoints",
        "ckpts": "kauldron.contrib.checkpoints",
        "data": "kauldron.contrib.data",
        "evals": "kauldron.contrib.evals",
        "knnx": "kauldron.contrib.knnx",
        "losses": "kauldron.contrib.losses",
        "metrics": "kauldron.contrib.metrics",
        "modules": "kauldron.contrib.modules",
        "nn": "kauldron.contrib.nn",
        "summaries": "kauldron.contrib.summaries",
        "train": "kauldron.contrib.train",
    },
)
