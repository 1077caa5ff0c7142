"""Resumable evaluations: long ones continue where they were interrupted."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import numpy as np
from etils import epath

from kauldron import checkpoints, data, sharding
from kauldron._base import console
from kauldron.data import utils as data_utils
from kauldron.evals import evaluators
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries


@dataclasses.dataclass(frozen=True)
class _Saved(checkpoints.items.TopLevelCheckpointItem):
    """What is saved of an evaluation.

    Attributes:
      arrays: The leaves of the merged states, numbered.
      ds_iter: The position in the dataset.
    """

    arrays: Any
    ds_iter: Any

    DEFAULT_ITEM: ClassVar[str] = "arrays"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CheckpointedEvaluator(evaluators.Evaluator):
    """An `Evaluator` that continues where it was interrupted.

    What was measured so far and the position in the dataset are saved to
    `<checkpointer.workdir>/step_<step>/`; after the last batch, that folder is replaced by
    the file `step_<step>_done`, and the step is not evaluated again. The results are the
    same as without interruption.

    Attributes:
      checkpointer: Says where, and after how many batches (`save_interval_steps`). Its
        workdir must be one that nothing else uses.
      log_tqdm_xm: Accepted; there is no XManager to log to.

    Raises:
      ValueError: If `cache` or `outputs` is set.

    Example:

    ```python
    cfg.evals["long"] = kd.contrib.evals.CheckpointedEvaluator(
        run=kd.evals.StandaloneEveryCheckpoint(),
        checkpointer=kd.ckpts.Checkpointer(
            workdir="runs/digits/long_eval", save_interval_steps=100
        ),
    )
    ```
    """

    checkpointer: checkpoints.Checkpointer
    log_tqdm_xm: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cache or self.outputs is not None:
            raise ValueError(
                "CheckpointedEvaluator can be interrupted at any batch: it takes neither "
                "`cache` nor `outputs`."
            )

    def evaluate(
        self, state: TrainState, step: int
    ) -> auxiliaries.AuxiliariesState | None:
        self._assert_root_cfg_resolved()
        folder = epath.Path(self.checkpointer.workdir)
        done = folder / f"step_{step}_done"
        if done.exists():
            console.log(f"{self.name!r} was evaluated at step {step} already.")
            return None
        if self.discard_opt:
            state = dataclasses.replace(state, opt_state=None)
        state = self.init_transform.transform(state)
        of_step = self.checkpointer.replace(workdir=folder / f"step_{step}")
        with of_step:
            merged = self._measure_all(state, of_step)
        self.writer.write_step_metrics(
            step=step, aux=merged, schedules={}, log_summaries=True
        )
        if console.is_lead_host():
            folder.mkdir(parents=True, exist_ok=True)
            done.touch()
            if (folder / f"step_{step}").exists():
                (folder / f"step_{step}").rmtree()
        return merged

    def _measure_all(
        self, state: TrainState, checkpointer: checkpoints.Checkpointer
    ) -> auxiliaries.AuxiliariesState:
        ds: data.IterableDataset = self.ds.for_evaluation()
        if self.num_batches is not None:
            ds = ds.take(self.num_batches)
        elif ds.is_endless:
            raise ValueError(
                f"The dataset of the evaluator {self.name!r} never ends: set "
                "`num_epochs=1` on it, or `num_batches` on the evaluator."
            )
        merged, num_done = None, 0
        with iter(ds) as batches:
            if (latest := checkpointer.latest_step) is not None:
                saved = checkpointer.restore(
                    _Saved(checkpoints.items.StandardCheckpointItem(), batches)
                )
                merged, num_done = self._from_arrays(saved.arrays, state, ds), latest
            for batch in batches:
                on_devices = sharding.put_batch(
                    data_utils.numeric(batch),
                    self.base_cfg.sharding.batch,
                    is_whole=batches.has_whole_batch,
                )
                aux = self.step(num_done, state, on_devices)
                merged = aux if merged is None else merged | aux
                num_done += 1
                if checkpointer.should_save(num_done):
                    merged = merged.finalize()
                    saved = _Saved(_to_arrays(merged), batches)
                    checkpointer.save(saved, step=num_done)
            checkpointer.wait_until_finished()
        if merged is None:
            raise ValueError(
                f"The dataset of the evaluator {self.name!r} gave no batch."
            )
        return merged

    def _from_arrays(self, arrays: Any, state: TrainState, ds: Any) -> Any:
        """Returns the merged states; their structure is that of a single batch."""
        batch = data_utils.batch_specs(ds.element_spec)
        like = jax.eval_shape(self._step, np.int32(0), state, batch)
        structure = jax.tree.structure(like)
        if structure.num_leaves != len(arrays):
            raise checkpoints.CheckpointError(
                f"The evaluator {self.name!r} measures something else than it did when "
                f"it was interrupted ({structure.num_leaves} arrays, not "
                f"{len(arrays)}). Delete {self.checkpointer.workdir}, and it starts anew."
            )
        leaves = [arrays[f"leaf_{i}"] for i in range(len(arrays))]
        return structure.unflatten(leaves)


def _to_arrays(merged: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree.leaves(merged)
    return {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
