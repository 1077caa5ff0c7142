"""Causal language models: embedding, a stack of blocks, head."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import dtypes

from kauldron import kontext, sharding
from kauldron.ktyping import Float, Int, typechecked
from kauldron.modules import (
    _logical_axes,
    _modules,
    _norms,
    _pipeline,
    _train_property,
)
from kauldron.modules.attention import _cache
from kauldron.modules.language import _projection
from kauldron.modules.language._decoder_block import DecoderBlock


class _Stage(NamedTuple):
    """Blocks that come once, or several that are repeated by a scan."""

    blocks: tuple[Any, ...]
    repeats: int | None


class _Period(nn.Module):
    """Several different blocks, one after the other; what a scan repeats."""

    make_blocks: Callable[[], Sequence[nn.Module]]
    run: Callable[..., Any]

    @nn.compact
    def __call__(self, x, caches, positions, segment_ids):
        after = []
        for i, block in enumerate(self.make_blocks()):
            cache = None if caches is None else caches[i]
            named = _modules.copy_of(block, self, f"layer_{i}")
            x, cache = self.run(named, x, positions, segment_ids, cache)
            after.append(cache)
        return x, None if caches is None else tuple(after)


class CausalLM(nn.Module):
    """Predicts each token from those before it.

    Returns `{"logits": Float["*b t vocab"]}` in f32, and `cache` if one was given. What
    the head reads is kept as the intermediate `hidden`. Called with `with_logits=False`,
    it returns `{"hidden": Float["*b t d"], "head": Float["d vocab"]}` instead, for what
    applies the head to a part of the tokens at a time; a tied head is the embedding,
    `Float["vocab d"]`.

    The blocks are repeated in turn until there are `num_layers`, so that two make
    alternating windows. Parameters: `embedding`, `position_embedding`, `layer_0` ...,
    `final_norm`, `head`; with `scan_layers`, `layers.layer_i` with a leading axis
    instead of those layers that are a whole round of `blocks`.

    Attributes:
      vocab_size: Number of tokens.
      features: Size of an embedding.
      num_layers: Number of blocks.
      blocks: Blocks to repeat, each copied with parameters of its own.
      first_blocks: Blocks that come once, before the others; they count as layers.
      final_norm: Norm before the head: `"rms"`, `"layer"`, or a module.
      epsilon: Of a norm by name.
      has_tied_head: Whether the head is the embedding.
      head_softcap: Bound of the logits.
      embedding_scale: Factor of the embeddings, rounded to the dtype.
      embedding_noise: In training, uniform noise is added to the embeddings, of
        `embedding_noise / sqrt(t * features)` at most (NEFTune, arXiv:2310.05914, where it
        is 5 to 15); from the stream `dropout`.
      max_positions: Number of learned position embeddings; `None` for none.
      scan_layers: Whether the program has one copy of the blocks, for fast compilation.
      remat: Whether the backward pass computes each block again.
      remat_policy: What is kept nevertheless, of `jax.checkpoint_policies`.
      kernel_init: Initializer of embedding and head.
      dtype: Of the activations; by default that of the embedding.
      param_dtype: Of embedding and head.
      tokens: Key to token ids, in `[0, vocab_size)`; others give NaN.
      positions: Key to the position of each token; without, `0 ... t - 1`.
      segment_ids: Key to the document of each token, in packed rows; a token sees its
        own document only.
    """

    vocab_size: int
    features: int
    num_layers: int
    blocks: Sequence[DecoderBlock]
    first_blocks: Sequence[DecoderBlock] = ()
    final_norm: _norms.Norm = "rms"
    epsilon: float = 1e-6
    has_tied_head: bool = False
    head_softcap: float | None = None
    embedding_scale: float | None = None
    embedding_noise: float | None = None
    max_positions: int | None = None
    scan_layers: bool = False
    remat: bool = False
    remat_policy: Callable[..., Any] | None = None
    kernel_init: Callable[..., Any] = _projection.DEFAULT_INIT
    dtype: Any = None
    param_dtype: Any = jnp.float32
    tokens: kontext.Key = kontext.REQUIRED
    positions: kontext.Key | None = None
    segment_ids: kontext.Key | None = None

    is_training = _train_property.train_property()

    @nn.compact
    @typechecked
    def __call__(
        self,
        tokens: Int["*b t"],
        positions: Int["*b t"] | None = None,
        segment_ids: Int["*b t"] | None = None,
        cache: Any = None,
        with_logits: bool = True,
    ) -> dict[str, Any]:
        self._check_layers()
        self._check(tokens, positions, segment_ids, cache)
        if positions is None:
            rows = jnp.arange(tokens.shape[-1], dtype=jnp.int32)
            positions = jnp.broadcast_to(rows, tokens.shape)
        table = self._table("embedding", self.vocab_size, "vocab")
        x = self._with_noise(self._embed(table, tokens))
        if self.embedding_scale is not None:
            x = x * jnp.asarray(self.embedding_scale, x.dtype)
        if self.max_positions is not None:
            places = self._table("position_embedding", self.max_positions, None)
            x = x + self._embed(places, positions)
        x, cache = self._layers(x, positions, segment_ids, cache)
        norm = _norms.make_norm(
            self.final_norm,
            owner=self,
            feature_axis="embed",
            epsilon=self.epsilon,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="final_norm",
        )
        x = norm(x)
        self.sow("intermediates", "hidden", x)
        head = table if self.has_tied_head else self._head()
        outputs = {"hidden": x, "head": head}
        if with_logits:
            outputs = {"logits": self._logits(x, head)}
        return outputs if cache is None else outputs | {"cache": cache}

    def init_cache(self, make: Callable[[_cache.CacheSpec], Any]) -> Any:
        """Returns an empty cache for all layers, to be passed as `cache=`.

        Args:
          make: Returns the empty `KVCache` of one layer, of what it will keep.
        """
        self._check_layers()
        return tuple(self._stage_cache(stage, make) for stage in self._stages())

    def _stage_cache(self, stage: _Stage, make: Callable[..., Any]) -> Any:
        empty = [make(b.attention.cache_spec(self.features)) for b in stage.blocks]
        if stage.repeats is None:
            return empty[0]
        return tuple(_repeated(cache, stage.repeats) for cache in empty)

    def _stages(self) -> list[_Stage]:
        num_layers = self.num_layers - len(self.first_blocks)
        rounds = num_layers // len(self.blocks) if self.scan_layers else 0
        done = rounds * len(self.blocks)
        rest = [self.blocks[i % len(self.blocks)] for i in range(num_layers - done)]
        scanned = [_Stage(tuple(self.blocks), rounds)] if rounds else []
        return [
            *(_Stage((block,), None) for block in self.first_blocks),
            *scanned,
            *(_Stage((block,), None) for block in rest),
        ]

    def _layers(self, x, positions, segment_ids, caches):
        run = _run
        if self.remat:
            run = nn.remat(_run, policy=self.remat_policy, prevent_cse=False)
        stages, layer, after = self._stages(), 0, []
        for stage, cache in zip(stages, caches or [None] * len(stages), strict=True):
            if stage.repeats is None:
                block = _modules.copy_of(stage.blocks[0], self, f"layer_{layer}")
                x, cache = run(block, x, positions, segment_ids, cache)
            elif plan := self._pipelining(stage, x, cache):
                x = _pipelined(self, run, stage, (x, positions, segment_ids), plan)
            else:
                period = self._scanned(run, stage)
                x, cache = period(x, cache, positions, segment_ids)
            layer += len(stage.blocks) * (stage.repeats or 1)
            after.append(cache)
        return x, None if caches is None else tuple(after)

    def _pipelining(self, stage: _Stage, x: Any, cache: Any) -> Any:
        """Returns how the blocks of a scan are split over stages, if they are."""
        if self.is_initializing() or cache is not None or x.ndim < 3:
            return None
        assert stage.repeats is not None
        return sharding.pipelining(stage.repeats, x.shape[0])

    def _scanned(self, run: Callable[..., Any], stage: _Stage) -> nn.Module:
        in_axes: Any = (0, nn.broadcast, nn.broadcast)
        scan = nn.scan(
            _Period,
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True, "dropout": True, "default": True},
            in_axes=in_axes,
            length=stage.repeats,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        return scan(make_blocks=lambda: stage.blocks, run=run, name="layers")

    def _table(self, name: str, length: int, axis: str | None) -> Float["n d"]:
        init = _logical_axes.with_logical_axes(self.kernel_init, (axis, "embed"))
        return self.param(name, init, (length, self.features), self.param_dtype)

    def _embed(self, table: Float["n d"], index: Int["*b t"]) -> Float["*b t d"]:
        # Rounded after the lookup: gradients of a frequent token sum up in the
        # parameters' dtype.
        rows = (
            jnp.asarray(table)
            .at[index]
            .get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
        )
        return rows.astype(self.dtype or table.dtype)

    def _with_noise(self, x: Float["*b t d"]) -> Float["*b t d"]:
        if not self.embedding_noise or self.is_initializing() or not self.is_training:
            return x
        bound = self.embedding_noise / math.sqrt(x.shape[-2] * x.shape[-1])
        noise = jax.random.uniform(
            self.make_rng("dropout"), x.shape, jnp.float32, -bound, bound
        )
        return (x + noise).astype(x.dtype)

    def _head(self) -> Float["d n"]:
        init = _logical_axes.with_logical_axes(self.kernel_init, ("embed", "vocab"))
        shape = (self.features, self.vocab_size)
        return self.param("head", init, shape, self.param_dtype)

    def _logits(self, x: Float["*b t d"], head: Float["p q"]) -> Float["*b t n"]:
        kernel = head.T if self.has_tied_head else head
        x, kernel = dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        logits = jnp.matmul(x, kernel, preferred_element_type=jnp.float32)
        if self.head_softcap is None:
            return logits
        return self.head_softcap * jnp.tanh(logits / self.head_softcap)

    def _check_layers(self) -> None:
        for name in ("blocks", "first_blocks"):
            if isinstance(getattr(self, name), nn.Module):
                raise ValueError(
                    f"`CausalLM.{name}` must be a list of blocks: got one "
                    f"{type(getattr(self, name)).__name__}. Put it into brackets."
                )
        if not self.blocks:
            raise ValueError("`CausalLM.blocks` is empty: a decoder needs a block.")
        if self.num_layers < 1:
            raise ValueError(f"`num_layers` must be >= 1: got {self.num_layers}.")
        if self.num_layers < len(self.first_blocks):
            raise ValueError(
                f"`num_layers` counts `first_blocks`: got num_layers={self.num_layers},"
                f" {len(self.first_blocks)} first blocks."
            )

    def _check(self, tokens, positions, segment_ids, cache) -> None:
        for name, ids in (("tokens", tokens), ("positions", positions)):
            if ids is not None and not jnp.issubdtype(ids.dtype, jnp.integer):
                raise ValueError(
                    f"`{name}` must be integers: got {ids.dtype}{list(ids.shape)}."
                )
        length = tokens.shape[-1]
        if self.max_positions is not None and length > self.max_positions:
            raise ValueError(
                f"{length} tokens are more than the {self.max_positions} positions of "
                "the model (`max_positions`). Cut the rows."
            )
        if cache is not None and (positions is None or segment_ids is not None):
            raise ValueError(
                "With a cache, say `positions` (-1 is no token), and no `segment_ids`: "
                "a row of a cache is one document."
            )


def _pipelined(owner, run, stage, inputs, plan):
    """Returns the activations after the blocks of a scan, which are stages."""

    def call(period, state):
        x, positions, segment_ids = state
        x, _ = period(x, None, positions, segment_ids)
        return x, positions, segment_ids

    period = _Period(lambda: stage.blocks, run, parent=owner, name="layers")
    return _pipeline.run_pipelined(
        call, period, inputs, num_layers=stage.repeats, plan=plan
    )[0]


def _run(block, x, positions, segment_ids, cache):
    return block(x, positions, segment_ids, cache)


def _repeated(tree: Any, number: int) -> Any:
    repeat = functools.partial(jnp.repeat, repeats=number, axis=0)
    return jax.tree.map(lambda x: repeat(x[None]), tree)
