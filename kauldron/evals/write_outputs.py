"""`WriteOutputs`: which per-example values an evaluator writes, and where."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from etils import epath

from kauldron import kontext
from kauldron._base import errors, root_refs
from kauldron.evals import example_rows, output_files, output_pieces
from kauldron.step.context import Context


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriteOutputs(root_refs.UpdateFromRootCfg):
    """Writes values of every example to `workdir/outputs/<evaluator>/step_<n>.npz`.

    There is one row per example, in the order of the dataset, for any batch size and
    number of devices and processes. A file appears when it is complete; a step that is
    evaluated again is written anew. `kd.evals.read_outputs` reads either format.

    More than `max_bytes_per_file` become several files, `step_<n>.part_0_of_3.npz`; so
    twice that many bytes are the most that wait in memory. Each of several processes
    writes its own, `step_<n>.process_0_of_2.npz`.

    Attributes:
      keys: Paths of values with a row per example, under `batch` (texts too, and
        dtypes as they were loaded), `preds` or `interms`. A list names the columns by the keys; a mapping goes from column to
        key. A key that names a container, such as `preds`, gives all that is below it.
        bf16 is written as f32.
      format: 'npz' (uncompressed, no Python objects), or 'parquet'.
      max_bytes_per_file: See above.
      workdir: Directory of the run; the trainer's unless given.

    Raises:
      ValueError: If the format is unknown, or there is no key.
    """

    keys: Mapping[str, str] | Sequence[str]
    format: Literal["npz", "parquet"] = "npz"
    max_bytes_per_file: int = 2**29
    workdir: epath.PathLike = root_refs.ROOT_CFG_REF.workdir

    def __post_init__(self) -> None:
        if self.format not in output_pieces.FORMATS:
            raise ValueError(
                f"`format` is 'npz' or 'parquet': got {self.format!r}."
                + errors.did_you_mean(str(self.format), output_pieces.FORMATS)
            )
        keys = example_rows.by_column(self.keys).values()
        if not keys or not all(isinstance(key, str) for key in keys):
            raise ValueError(
                f"`keys` names what to write, such as ['preds.logits']: got {self.keys!r}."
            )
        if self.max_bytes_per_file < 1:
            raise ValueError(
                f"`max_bytes_per_file` must be at least 1: got {self.max_bytes_per_file}."
            )

    def check(self, context: Context, *, prefix: str) -> list[kontext.KeyProblem]:
        """Returns what is wrong with the keys.

        Args:
          context: Abstract, after a forward pass; its batch has the texts as well.
          prefix: How the user wrote this object.
        """
        return example_rows.check(
            context, example_rows.fields_of(self.keys, f"{prefix}.keys")
        )

    def open(self, evaluator: str, step: int) -> Any:
        """Returns the files of a step, a context manager."""
        self._assert_root_cfg_resolved()
        if self.workdir is None:
            raise output_pieces.OutputsError(
                "No workdir: say where outputs go, with `--cfg.workdir=runs/my_run`."
            )
        folder = epath.Path(self.workdir) / "outputs" / evaluator
        return output_files.OutputFiles(
            folder / f"step_{step}.{self.format}",
            max_bytes_per_file=self.max_bytes_per_file,
        )
