"""What users write, for `test_pyright.py`: clean but for the lines marked `# error`."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import ktyping as kt
from kauldron import typing as kd_typing
from kauldron.kontext import REQUIRED, Key, KeyTree
from kauldron.ktyping import Float, PyTree


@kt.typechecked
def pool(
    x: Float["*b h w c"], mask: kt.Bool["*b h w 1"] | None = None
) -> Float["*b c"]:
    num_axes = len(x.shape)
    x = x * 2 + x[..., :1]
    if mask is not None:
        x = jnp.where(mask, x, 0)
    del num_axes
    return x.mean(axis=(-2, -3))


@dataclasses.dataclass
class Batch:
    image: kt.Float["b h w c"]
    label: kt.Int["b"]
    scale: kt.ScalarFloat = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss:
    preds: Key = REQUIRED
    extra: KeyTree[PyTree] = None
    mask: Key | None = None

    @kt.typechecked
    def get_values(self, preds: Float["*a"], targets: Float["*a"]) -> Float["*a"]:
        return jnp.square(preds - targets)


def tree(
    params: PyTree[Float["..."], "$S"], key: kt.PRNGKeyLike
) -> PyTree[Float["..."]]:
    return jax.tree.map(lambda x: x * 2, params)


def older(x: kd_typing.Int["*b"], shape: kd_typing.Shape) -> kd_typing.Float["*b"]:
    if isinstance(x, kd_typing.Int["n"]):
        assert kd_typing.Shape("*b 1")[0] > 0
    return x.astype(np.float32)


pool(jnp.ones((2, 3, 3, 1)), np.ones((2, 3, 3, 1), bool))
pool(jax.ShapeDtypeStruct((2, 3, 3, 1), jnp.float32))
tree({"a": jnp.ones(3)}, 0)
tree({"a": jnp.ones(3)}, jax.random.key(0))
Batch(np.ones((2, 3, 3, 1)), np.ones(2, int), 2.0)
Loss(preds="preds.image", mask="batch.mask")
sizes: tuple[int, ...] = kt.shape("*b h")

pool(3)  # error
pool([1.0])  # error
