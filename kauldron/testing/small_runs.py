"""`PatchConfig`: shrinks a config so that a trial run takes seconds."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import tempfile
from collections.abc import Iterable
from typing import Any, Literal, Self

from kauldron import konfig, kontext

_PROFILED_STEPS = 17
_ONCE = {"__qualname__": "kauldron.kd:evals.Once", "0": 0}
_ALL_CHECKS = {"__const__": "jax.experimental.checkify:all_checks"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchConfig:
    """Changes of a config that make a run of it small.

    On the command line, `--patch` applies all of them, `--patch.name=value` changes one
    of them; what `--cfg.*` sets stays as it is set there.

    Attributes:
      stop_after_steps: Steps to train; `None` leaves it.
      batch_size: Batch size of all datasets. `'devices'`: one example per device here;
        `None` leaves it.
      num_batches: Batches per evaluation; `None` leaves it.
      skip_eval: Whether there are no evaluators.
      eval_run_once: Whether each evaluator runs once, at step 0.
      skip_checkpointer: Whether nothing is saved or restored.
      skip_metrics: Whether metrics are dropped, also in evaluators.
      skip_summaries: Whether summaries are dropped, also in evaluators.
      skip_flatboard: Accepted for published code: no dashboards are made in any case.
      profile: Whether 17 steps are trained, and profiled.
      checkify: Whether the step looks for NaNs, bad indices, and divisions by zero.

    Example:

    ```python
    from kauldron import kd, konfig

    cfg = konfig.ConfigDict({"stop_after_steps": None, "seed": 1})
    patched, changes = kd.cli.PatchConfig()(cfg)
    assert patched.stop_after_steps == 1 and cfg.stop_after_steps is None
    assert changes["stop_after_steps"] == 1
    ```
    """

    stop_after_steps: int | None = 1
    batch_size: int | Literal["devices"] | None = "devices"
    num_batches: int | None = 1
    skip_eval: bool = False
    eval_run_once: bool = True
    skip_checkpointer: bool = True
    skip_metrics: bool = False
    skip_summaries: bool = False
    skip_flatboard: bool = True
    profile: bool = False
    checkify: bool = False

    @classmethod
    def from_overrides(cls, overrides: Iterable[konfig.Override]) -> Self:
        """Returns the patches that `--patch.name=value` stand for.

        Raises:
          ConfigError: A `UserError`: no such field, or a value of the wrong type.
        """
        node = konfig.ConfigDict({"__qualname__": f"kauldron.cli:{cls.__name__}"})
        konfig.apply_overrides(node, overrides)
        return konfig.resolve(node)

    def __call__(
        self, cfg: konfig.ConfigDict
    ) -> tuple[konfig.ConfigDict, dict[str, Any]]:
        """Returns a patched copy, and what was changed: `{path: value}`."""
        patched = copy.deepcopy(cfg)
        with patched.ignore_type():
            changes = _Patcher(patched).apply(self)
        return patched, changes


class _Patcher:
    """Changes a config in place, and remembers what."""

    def __init__(self, cfg: konfig.ConfigDict):
        self.cfg = cfg
        self.changes: dict[str, Any] = {}

    def apply(self, patch: PatchConfig) -> dict[str, Any]:
        if patch.stop_after_steps is not None:
            self.set("stop_after_steps", patch.stop_after_steps)
        if patch.profile:
            self.set("stop_after_steps", _PROFILED_STEPS)
            if self.cfg.get("profiler") is None:
                profiler = {"__qualname__": "kauldron.kd:inspect.Profiler"}
                self.set("profiler", profiler)
        if patch.checkify:
            self.set("checkify_error_categories", _ALL_CHECKS)
        if patch.skip_checkpointer:
            self.set("checkpointer", None)
        if self.cfg.get("workdir", "") is None:
            self.set("workdir", tempfile.mkdtemp(prefix="kauldron_"))
        self.shrink_datasets(patch)
        self.shrink_evals(patch)
        for kind, is_skipped in (
            ("metrics", patch.skip_metrics),
            ("summaries", patch.skip_summaries),
        ):
            if is_skipped:
                self.set(f"train_{kind}", {})
                self.set_in_evals(kind, {})
        return self.changes

    def shrink_datasets(self, patch: PatchConfig) -> None:
        size: Any = patch.batch_size
        if size == "devices":
            import jax

            size = jax.local_device_count()
        for ds in ("train_ds", "eval_ds", "evals"):
            if self.cfg.get(ds) is None:
                continue
            if size is not None:
                self.set_all(f"{ds}.**.batch_size", size)
            self.set_all(f"{ds}.**.shuffle_buffer_size", 1)

    def shrink_evals(self, patch: PatchConfig) -> None:
        if patch.skip_eval:
            self.set("evals", {})
        if patch.num_batches is not None:
            self.set_in_evals("num_batches", patch.num_batches)
        if patch.eval_run_once:
            self.set_in_evals("run", _ONCE)

    def set_in_evals(self, name: str, value: object) -> None:
        """Sets an argument of every evaluator that has it."""
        evals = self.cfg.get("evals")
        for key in evals if isinstance(evals, konfig.ConfigDict) else ():
            if _takes(evals[key], name):
                self.set_all(str(kontext.Path("evals", key, name)), value)

    def set_all(self, path: str, value: object) -> None:
        for changed in kontext.set_by_path(self.cfg, path, value):
            self.changes[changed] = value

    def set(self, name: str, value: object) -> None:
        """Sets a field of the run, if what the config builds has it."""
        if _takes(self.cfg, name):
            self.cfg[name] = value
            self.changes[name] = value


def _takes(node: Any, name: str) -> bool:
    """Returns whether a node has a field, or what it calls such an argument."""
    if not isinstance(node, konfig.ConfigDict):
        return False
    if name in node:
        return True
    qualname = node.get("__qualname__")
    if qualname is None:
        return False
    target = konfig.resolve(konfig.ConfigDict({"__const__": qualname}))
    return name in inspect.signature(target).parameters
