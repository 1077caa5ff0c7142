"""The network of `digits_own_model.py` as an NNX module.

    kauldron train --cfg=examples/digits_nnx.py --cfg.workdir=runs/nnx

An NNX module that exists already needs no class of its own:
`cfg.model = kd.contrib.nn.linen_from_nnx(TheirModule, ...)`.
"""

from __future__ import annotations

from flax import nnx

from examples import digits_classifier
from kauldron import kd, konfig

with konfig.imports():
    from examples import digits_nnx


class Network(kd.contrib.knnx.KdNnxModule):
    """Two dense layers; `{"logits": f[*b 10]}`.

    Attributes:
      image: Key to the image, `f[*b 8 8 1]`: the argument of `__call__`.
      num_features: Features in between.
    """

    image: kd.kontext.Key = kd.kontext.REQUIRED
    num_features: int = 128

    def setup(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(8 * 8, self.num_features, rngs=rngs)
        self.norm = nnx.BatchNorm(self.num_features, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.last = nnx.Linear(self.num_features, 10, rngs=rngs)

    def __call__(self, image):
        x = image.reshape(*image.shape[:-3], -1)
        x = nnx.relu(self.norm(self.first(x)))
        self.sow(nnx.Intermediate, "features", x)  # a key: `interms.features[0]`
        return {"logits": self.last(self.dropout(x))}


def get_config():
    cfg = digits_classifier.get_config()
    cfg.model = digits_nnx.Network(image="batch.image")
    return cfg
