"""Cross-entropy of the next token, from logits or from hidden states in chunks."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from kauldron import kontext, losses, metrics
from kauldron.ktyping import Array, Float, Int, Scalar, typechecked
from kauldron.lm.losses import _checks
from kauldron.lm.models import _chunked_head, _token_nats
from kauldron.metrics import arrays


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OfTokens(losses.Loss):
    """Base: checks the options, and that targets are tokens."""

    targets: kontext.Key = kontext.REQUIRED
    label_smoothing: float = 0.0
    z_loss: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_range(self, "label_smoothing", low=0, high=1)
        _checks.check_range(self, "z_loss", low=0)

    def _checked(
        self,
        targets: Array,
        shape: tuple[int, ...],
        vocab_size: int,
        mask: Array | float | None,
    ) -> tuple[Array, Array, metrics.State]:
        """Returns targets and weights of them, NaN for what is no token; an empty state
        that knows those."""
        _checks.check_tokens(self, targets=targets, shape=shape)
        checked = metrics.check_labels(
            targets, num_classes=vocab_size, mask=mask, owner=self, field="targets"
        )
        weights = checked.mask.astype(jnp.float32)
        # A wrong token makes the loss and its gradient NaN instead of vanishing.
        weights = jnp.where(checked.is_bad, jnp.nan, weights)
        counts = jnp.where(checked.is_bad, 1, weights)
        state = self.State(
            total=jnp.float32(0), count=counts.sum(), bad_labels=checked.bad_labels
        )
        return checked.ids, weights, state

    @property
    def _smoothing(self) -> _token_nats.Smoothing:
        return _token_nats.Smoothing(self.label_smoothing, self.z_loss)

    def _filled(
        self, state: Any, total: Array, num_tokens: int, step: Scalar | None
    ) -> Any:
        """Returns the state of a weighted sum of losses."""
        count = state.count
        if self.normalize_by == "values":
            count = jnp.float32(num_tokens)
        weighted = total * self.get_weight(step)
        return dataclasses.replace(state, total=weighted, count=count, raw_total=total)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenCrossEntropy(_OfTokens):
    """Cross-entropy of the next token, in nats: the mean over unmasked tokens.

    The mean is that of the whole batch, over devices and micro-batches. With `z_loss`,
    `z_loss * log(sum(exp(logits)))**2` is added to the loss of each token, which keeps
    the logits from drifting.

    Attributes:
      logits: Key to unnormalised scores, `Float["*b n vocab"]`.
      targets: Key to the token that follows, `Int["*b n"]`.
      mask: Key to weights of the tokens, `Array["*b n"]`.
      label_smoothing: Share of the target that is spread evenly over the vocabulary.
      z_loss: Factor of the z-loss; 1e-4 in PaLM.

    Raises:
      ValueError: If the shapes don't fit, targets are not integers, or an option is out
        of range.
      LabelError: A `ValueError`: on computing the value, if a target that counts is not
        in the vocabulary.

    Reference: Chowdhery et al. 2022, PaLM, §5, arXiv:2204.02311.
    """

    logits: kontext.Key = kontext.REQUIRED

    @typechecked
    def get_state(
        self,
        logits: Array["*b vocab"],
        targets: Array["*b"],
        mask: Array | float | None = None,
        step: Scalar | None = None,
    ) -> losses.Loss.State:
        ids, weights, state = self._checked(
            targets, logits.shape[:-1], logits.shape[-1], mask
        )
        # What is not counted is not looked at, without a copy of the logits.
        values = self._values(logits, ids, jnp.not_equal(weights, 0))
        total = jnp.where(weights == 0, 0, values * weights).sum()
        return self._filled(state, total, ids.size, step)

    @typechecked
    def get_values(self, logits: Array["*b vocab"], targets: Int["*b"]) -> Float["*b"]:
        return self._values(logits, targets, jnp.ones(targets.shape, bool))

    def _values(self, logits: Array, targets: Array, is_counted: Array) -> jax.Array:
        return _token_nats.nats_of_logits(
            arrays.to_float(logits), targets, is_counted, self._smoothing
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChunkedCrossEntropy(_OfTokens):
    """`TokenCrossEntropy` that never has the logits of all tokens in memory.

    It reads what the head reads, and the head's kernel. Logits and their gradient exist
    for `1 / num_chunks` of the tokens at a time; if nothing else reads `preds.logits`,
    the compiler leaves them out of the step. With a vocabulary of 49,152 the step takes
    a fifth of the memory, and no more time.

    Attributes:
      hidden: Key to hidden states, `Float["*b n d"]`, such as
        `'interms.hidden[0]'` of `kd.nn.CausalLM`. Their dtype is that of
        the computation; sums are in f32.
      kernel: Key to the kernel of the head, `Float["d vocab"]`, such as `'params.head'`;
        with `has_tied_head` to the embedding, `'params.embedding'`.
      targets: Key to the token that follows, `Int["*b n"]`.
      mask: Key to weights of the tokens, `Array["*b n"]`.
      has_tied_head: Whether the kernel is the embedding, `Float["vocab d"]`.
      head_softcap: Bound of the logits, as in the model.
      num_chunks: Parts into which each row is cut.
      label_smoothing: Share of the target that is spread evenly over the vocabulary.
      z_loss: Factor of the z-loss; 1e-4 in PaLM.

    Raises:
      ValueError: If the shapes don't fit, targets are not integers, or an option is out
        of range.
      LabelError: A `ValueError`: on computing the value, if a target that counts is not
        in the vocabulary.
    """

    hidden: kontext.Key = kontext.REQUIRED
    kernel: kontext.Key = kontext.REQUIRED
    has_tied_head: bool = False
    head_softcap: float | None = None
    num_chunks: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_range(self, "num_chunks", low=1)

    @typechecked
    def get_state(
        self,
        hidden: Float["*b n d"],
        kernel: Float["p q"],
        targets: Array["*b n"],
        mask: Array | float | None = None,
        step: Scalar | None = None,
    ) -> losses.Loss.State:
        vocab_size = self._vocab_size(hidden, kernel)
        ids, weights, state = self._checked(
            targets, hidden.shape[:-1], vocab_size, mask
        )
        _, kwargs = self._guard((), {"hidden": hidden}, mask)
        total: Any = _chunked_head.total_nats(
            kwargs["hidden"], kernel, ids, weights, self._head
        )
        return self._filled(state, total, ids.size, step)

    @typechecked
    def get_values(
        self, hidden: Float["*b n d"], kernel: Float["p q"], targets: Int["*b n"]
    ) -> Float["*b n"]:
        self._vocab_size(hidden, kernel)
        return _chunked_head.token_nats(hidden, kernel, targets, head=self._head)

    @property
    def _head(self) -> _chunked_head.Head:
        return _chunked_head.Head(
            num_chunks=self.num_chunks,
            is_transposed=self.has_tied_head,
            softcap=self.head_softcap,
            smoothing=self._smoothing,
        )

    def _vocab_size(self, hidden: Array, kernel: Array) -> int:
        features, vocab_size = kernel.shape[:: -1 if self.has_tied_head else 1]
        if features != hidden.shape[-1]:
            raise ValueError(
                f"{type(self).__name__} needs a kernel "
                f"`{'[vocab d]' if self.has_tied_head else '[d vocab]'}` (key "
                f"{self.kernel!r}): got {kernel.shape} for hidden states "
                f"{hidden.shape} (key {self.hidden!r}). `has_tied_head` says whether it "
                "is the embedding."
            )
        return vocab_size
