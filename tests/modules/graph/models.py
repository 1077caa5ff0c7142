"""Models twice: as a graph, and by hand in linen."""

from __future__ import annotations

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron import kd

concatenate = functools.partial(jnp.concatenate, axis=-1)
pool = functools.partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2))


def program_of(function, *args):
    """The program that is compiled; private functions are numbered as they come."""
    return re.sub(r"@\w+", "@", jax.jit(function).lower(*args).as_text())


def upsample(x):
    return x.repeat(2, -3).repeat(2, -2)


def unet_nodes(depth: int = 4, features: int = 4) -> dict[str, kd.nn.Node]:
    """A U-Net of 7 * depth + 3 nodes: 31 for a depth of 4."""
    nodes = {}
    x = "batch.image"
    for i in range(depth):
        nodes[f"conv_{i}"] = kd.nn.Node(nn.Conv(features << i, (3, 3)), x)
        nodes[f"relu_{i}"] = kd.nn.Node(nn.relu, f"conv_{i}")
        nodes[f"pool_{i}"] = kd.nn.Node(pool, f"relu_{i}")
        x = f"pool_{i}"
    nodes["bottom"] = kd.nn.Node(nn.Conv(features << depth, (3, 3)), x)
    nodes["bottom_relu"] = kd.nn.Node(nn.relu, "bottom")
    x = "bottom_relu"
    for i in reversed(range(depth)):
        nodes[f"up_{i}"] = kd.nn.Node(upsample, x)
        nodes[f"join_{i}"] = kd.nn.Node(concatenate, [[f"up_{i}", f"relu_{i}"]])
        nodes[f"merge_{i}"] = kd.nn.Node(nn.Conv(features << i, (3, 3)), f"join_{i}")
        nodes[f"merged_{i}"] = kd.nn.Node(nn.relu, f"merge_{i}")
        x = f"merged_{i}"
    nodes["head"] = kd.nn.Node(nn.Conv(2, (1, 1)), x)
    return nodes


def unet(depth: int = 4, features: int = 4) -> kd.nn.Graph:
    return kd.nn.Graph(nodes=unet_nodes(depth, features), outputs={"logits": "head"})


class HandUnet(nn.Module):
    """The same by hand."""

    depth: int = 4
    features: int = 4

    @nn.compact
    def __call__(self, image):
        x = image
        kept = []
        for i in range(self.depth):
            x = nn.relu(nn.Conv(self.features << i, (3, 3), name=f"conv_{i}")(x))
            kept.append(x)
            x = pool(x)
        x = nn.relu(nn.Conv(self.features << self.depth, (3, 3), name="bottom")(x))
        for i in reversed(range(self.depth)):
            x = concatenate([upsample(x), kept[i]])
            x = nn.relu(nn.Conv(self.features << i, (3, 3), name=f"merge_{i}")(x))
        return {"logits": nn.Conv(2, (1, 1), name="head")(x)}


class Block(nn.Module):
    """Batch norm and dropout between dense layers."""

    features: int
    is_training = kd.nn.train_property()

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(self.features)(x)
        x = nn.BatchNorm(use_running_average=not self.is_training)(x)
        return kd.nn.Dropout(0.5)(nn.relu(x))


def two_headed() -> kd.nn.Graph:
    """Two inputs, a shared block, a side head in training, something frozen."""
    return kd.nn.Graph(
        nodes={
            "score": kd.nn.Node(nn.Dense(1), "second"),
            "both": kd.nn.Node(jnp.add, ["embedding", "encoder"]),
            "encoder": kd.nn.Node(nn.Dense(8), "batch.image", frozen=True),
            "embedding": kd.nn.Node(nn.Embed(10, 8), "batch.label"),
            "first": kd.nn.Node("block", "both"),
            "second": kd.nn.Node("block", {"x": "first"}),
            "side": kd.nn.Node(nn.Dense(3), "first", when="train"),
        },
        outputs={"score": "score", "side": "side"},
        shared={"block": Block(8)},
    )


class HandTwoHeaded(nn.Module):
    """The same by hand."""

    is_training = kd.nn.train_property()

    @nn.compact
    def __call__(self, image, label):
        encoder = nn.Dense(8, name="encoder")
        if self.is_initializing():
            encoded = encoder(image)
        else:
            params = jax.lax.stop_gradient(encoder.variables["params"])
            encoded = nn.Dense(8).apply({"params": params}, image)
        both = nn.Embed(10, 8, name="embedding")(label) + encoded
        block = Block(8, name="block")
        first = block(both)
        second = block(first)
        preds = {"score": nn.Dense(1, name="score")(second)}
        if self.is_initializing() or self.is_training:
            preds["side"] = nn.Dense(3, name="side")(first)
        return preds
