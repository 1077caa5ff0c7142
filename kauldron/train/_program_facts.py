"""What must be the same in all processes of a run, for them to compute together."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
from collections.abc import Mapping
from typing import Any

import jax

import kauldron
from kauldron import kontext
from kauldron.train import _run_description

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint", "grain")
_JAX_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_numpy_dtype_promotion",
)


def collect(
    trainer: _run_description.RunDescription, *, latest: int | None, last_step: int
) -> dict[str, str]:
    """Returns name -> value of all that processes must have in common.

    Args:
      trainer: The run, checked.
      latest: Step of the newest checkpoint; `None` without one.
      last_step: Updates that the run makes in all.
    """
    config = {} if trainer.raw_cfg is None else json.loads(trainer.raw_cfg.to_json())
    facts = {
        f"cfg.{_as_written(path)}": json.dumps(value)
        for path, value in kontext.flatten_with_path(config).items()
    }
    facts |= {
        "newest checkpoint": str(latest),
        "last step": str(last_step),
        "workdir": os.fspath(trainer.workdir),
        "kauldron": kauldron.__version__,
        "XLA_FLAGS": _flags_of_programs(),
    }
    facts |= {name: importlib.metadata.version(name) for name in _LIBRARIES}
    facts |= {name: str(getattr(jax.config, name)) for name in _JAX_SETTINGS}
    facts |= _of_specs("batch", trainer.train_ds.element_spec)
    facts |= _of_specs("state", trainer.state_specs)
    datasets = {"train_ds": trainer.train_ds} | {
        f"evals[{name!r}].ds": getattr(evaluator, "ds", None)
        for name, evaluator in trainer.evals.items()
    }
    for name, ds in datasets.items():
        num = getattr(ds, "num_shared_examples", None)
        if num is not None:
            facts[f"examples of cfg.{name}"] = str(num)
    return facts


def _as_written(path: str) -> str:
    """Returns `optimizer[0]`, for a positional argument, where JSON has `['0']`."""
    return re.sub(r"\['(\d+)'\]", r"[\1]", path)


def _flags_of_programs() -> str:
    """Returns the flags of XLA; where it writes dumps may differ."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    return " ".join(flag for flag in flags if not flag.startswith("--xla_dump"))


def _of_specs(name: str, specs: Any) -> Mapping[str, str]:
    leaves = kontext.flatten_with_path(specs, prefix=name)
    return {path: _show(leaf) for path, leaf in leaves.items()}


def _show(leaf: Any) -> str:
    shape, dtype = getattr(leaf, "shape", None), getattr(leaf, "dtype", None)
    spec = getattr(getattr(leaf, "sharding", None), "spec", None)
    placed = "" if spec is None else f" {spec}"
    return f"{dtype}{list(shape or ())}{placed}"
