"""The public namespace: `from kauldron import kd`.

Nothing is imported before it is used: `kd.nn` imports Flax, `kd.data` grain, and so on.
"""

from __future__ import annotations

from kauldron._base import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "apps": "kauldron.apps",
        "ckpts": "kauldron.checkpoints",
        "cli": "kauldron.cli",
        "contrib": "kauldron.contrib",
        "data": "kauldron.data",
        "errors": "kauldron.errors",
        "evals": "kauldron.evals",
        "export": "kauldron.export",
        "from_xid": "kauldron.utils.from_xid",
        "inspect": "kauldron.inspect",
        "kdash": "kauldron.utils.kdash",
        "konfig": "kauldron.konfig",
        "kontext": "kauldron.kontext",
        "ktyping": "kauldron.ktyping",
        "launch": "kauldron.launch",
        "lm": "kauldron.lm",
        "losses": "kauldron.losses",
        "metrics": "kauldron.metrics",
        "nn": "kauldron.modules",
        "optim": "kauldron.optim",
        "random": "kauldron.random",
        "rl": "kauldron.rl",
        "serve": "kauldron.serve",
        "sharding": "kauldron.sharding",
        "summaries": "kauldron.summaries",
        "testing": "kauldron.testing",
        "tracking": "kauldron.tracking",
        "train": "kauldron.train",
        "typing": "kauldron.typing",
        "utils": "kauldron.utils.api",
        "volumes": "kauldron.volumes",
        "xm": "kauldron.utils.xmanager",
    },
)
