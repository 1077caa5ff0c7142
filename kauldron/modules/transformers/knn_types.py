"""What transformers are made of, as protocols: anything that is called so will do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

from kauldron.ktyping import Array, Axes, Bool, Float

ActivationFunction: TypeAlias = Callable[[Array], Array]


@runtime_checkable
class AttentionModule(Protocol):
    """Attends from queries `f[*b q d]` to keys and values `f[*b k d]`."""

    def __call__(
        self,
        inputs_q: Float["*b q d_q"],
        inputs_k: Float["*b k d_k"] | None = None,
        inputs_v: Float["*b k d_v"] | None = None,
        *,
        mask: Bool["*#b #h #q #k"] | None = None,
    ) -> Float["*b q d_out"]: ...


@runtime_checkable
class NormModule(Protocol):
    """Normalises the last axis."""

    def __call__(self, x: Float["*b d"], /) -> Float["*b d"]: ...


@runtime_checkable
class ImageTokenizer(Protocol):
    """Makes tokens of an image; a grid `h w` or a list of them."""

    def __call__(self, images: Float["*b H W C"], /) -> Float["*b ... d"]: ...


@runtime_checkable
class TransformerBlock(Protocol):
    """Tokens to tokens, of the same shape."""

    def __call__(self, tokens: Float["*b n d"], /) -> Float["*b n d"]: ...


@runtime_checkable
class PositionEmbedding(Protocol):
    """An embedding of positions along some axes, to be added to tokens of a shape."""

    def __call__(self, shape: tuple[int, ...], *, axis: Axes) -> Float["..."]: ...
