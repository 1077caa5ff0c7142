"""Random streams: every number follows from (seed, stream name, step)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kauldron import random
from kauldron._base import frozen_dict, root_refs
from kauldron.ktyping import PRNGKeyArray, Scalar, typechecked


@dataclasses.dataclass(frozen=True)
class RngStream:
    """One named stream of keys.

    Attributes:
      name: Name under which modules ask for it, `self.make_rng(name)`.
      init: Whether it exists when parameters are initialised.
      train: Whether it exists in training steps.
      eval: Whether it exists in evaluation steps.
      per_step: Whether each step has its own key.
    """

    name: str
    _: dataclasses.KW_ONLY
    init: bool = True
    train: bool = True
    eval: bool = False
    per_step: bool = True

    @typechecked
    def make(
        self, root_rng: PRNGKeyArray[""], *, step: Scalar, phase: str
    ) -> PRNGKeyArray[""]:
        """Returns the key of a step; `phase` is `'init'`, `'train'` or `'eval'`."""
        rng = jax.random.fold_in(root_rng, random.hash_str(self.name))
        if self.per_step:
            rng = jax.random.fold_in(rng, step)
        return jax.random.fold_in(rng, random.hash_str(phase))


_DEFAULT_STREAMS = (
    RngStream("params", train=False, per_step=False),
    RngStream("dropout"),
    RngStream("default"),
)


@dataclasses.dataclass(frozen=True)
class RngStreams(root_refs.UpdateFromRootCfg):
    """The streams of a run: the defaults (`params`, `dropout`, `default`) and yours.

    Attributes:
      streams: Your streams; one with the name of a default replaces it.
      seed: Root seed, that of the trainer unless given.
      stream_overwrites: Published name of `streams`; give one of the two.

    Raises:
      ValueError: If both are given.
    """

    streams: Sequence[RngStream] | Mapping[str, RngStream] = ()
    seed: int = root_refs.ROOT_CFG_REF.seed
    stream_overwrites: Sequence[RngStream] | Mapping[str, RngStream] = ()

    def __post_init__(self) -> None:
        if self.streams and self.stream_overwrites:
            raise ValueError(
                "`streams` and `stream_overwrites` are two names of one field: give one."
            )

    @functools.cached_property
    def _by_name(self) -> Mapping[str, RngStream]:
        given = self.streams or self.stream_overwrites
        given = given.values() if isinstance(given, Mapping) else given
        by_name = {stream.name: stream for stream in (*_DEFAULT_STREAMS, *given)}
        return frozen_dict.ImmutableDict(by_name)

    @functools.cached_property
    def _seed(self) -> Any:
        if not isinstance(self.seed, int):
            return self.seed
        # An array, not a number in a program: it is the same program for all seeds.
        with jax.ensure_compile_time_eval(), jax.transfer_guard("allow"):
            return jax.device_put(np.int64(self.seed))  # `asarray` compiles

    @property
    def root_rng(self) -> PRNGKeyArray[""]:
        """The key everything is folded from, `UInt32["2"]`."""
        if isinstance(self.seed, root_refs.RootCfgRef):
            self._assert_root_cfg_resolved()
        return jax.random.PRNGKey(self._seed)

    def init_rngs(self) -> dict[str, PRNGKeyArray[""]]:
        """Returns the keys for initialising parameters."""
        return self._make("init", 0)

    def train_rngs(self, step: Scalar) -> dict[str, PRNGKeyArray[""]]:
        """Returns the keys of a training step (an int or a traced scalar)."""
        return self._make("train", step)

    def eval_rngs(self, step: Scalar) -> dict[str, PRNGKeyArray[""]]:
        """Returns the keys of an evaluation; `step` is the index of the batch."""
        return self._make("eval", step)

    def _make(self, phase: str, step: Scalar) -> dict[str, PRNGKeyArray[""]]:
        root_rng = self.root_rng
        return {
            name: stream.make(root_rng, step=step, phase=phase)
            for name, stream in self._by_name.items()
            if getattr(stream, phase)
        }
