"""`Pipeline`: batches of examples."""

from __future__ import annotations

import dataclasses
import functools
import secrets
from typing import Any

import numpy as np

from kauldron._base import root_refs
from kauldron.data import _draws, _errors, _specs, datasets
from kauldron.data._batch_size import BatchSize


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pipeline(datasets.IterableDataset, root_refs.UpdateFromRootCfg):
    """Base of datasets that yield batches.

    Attributes:
      batch_size: Rows of the global batch, over all processes; `None` yields single
        elements.
      seed: Of every random choice; the trainer's unless given. Without either, an
        arbitrary one is chosen.

    Raises:
      DataError: If `batch_size` is not positive.
    """

    batch_size: int | None = None
    seed: int = root_refs.ROOT_CFG_REF.seed

    def __post_init__(self) -> None:
        size = self.batch_size
        if size is None:
            return
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise _errors.DataError(
                "`batch_size` must be at least 1, or None for single elements: got "
                f"{size!r}."
            )

    @property
    def host_batch_size(self) -> int | None:
        """Rows that this process loads."""
        if self.batch_size is None:
            return None
        return BatchSize(self.batch_size).per_process

    @property
    def num_shared_examples(self) -> int | None:
        """How many examples the processes share, in one epoch; filters don't count.

        `None`: each process has examples of its own, or their number is not known.
        """
        return None

    @functools.cached_property
    def element_spec(self) -> Any:
        """Shapes and dtypes of what this process loads, as `enp.ArraySpec`."""
        with iter(self) as batches:
            return _specs.spec_of(next(batches))

    @functools.cached_property
    def _int_seed(self) -> int:
        if self._has_arbitrary_seed:
            return secrets.randbits(32)
        if isinstance(self.seed, int | np.integer):
            return int(self.seed)
        # A JAX key, an array or a list of integers.
        return _draws.hash_name(repr(np.asarray(self.seed).tolist()))

    @property
    def _has_arbitrary_seed(self) -> bool:
        return self.seed is None or isinstance(self.seed, root_refs.RootCfgRef)
