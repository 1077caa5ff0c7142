"""The digits, read by a model of one's own: a Flax module with keys.

    kauldron train --cfg=examples/digits_own_model.py --cfg.workdir=runs/own_model

Everything but the model is `digits_classifier.py`. The same network is an NNX module in
`digits_nnx.py`, an Equinox module in `digits_equinox.py`, and two functions in
`digits_functions.py`.
"""

from __future__ import annotations

import flax.linen as nn

from examples import digits_classifier
from kauldron import kd, konfig

with konfig.imports():
    from examples import digits_own_model


class Network(nn.Module):
    """Two dense layers; `{"logits": f[*b 10]}`.

    Attributes:
      image: Key to the image, `f[*b 8 8 1]`: the argument of `__call__`.
      num_features: Features in between.
    """

    image: kd.kontext.Key = kd.kontext.REQUIRED
    num_features: int = 128

    is_training = kd.nn.train_property()
    interms = kd.nn.interms_property()

    @nn.compact
    def __call__(self, image):
        x = image.reshape(*image.shape[:-3], -1)
        x = nn.Dense(self.num_features, name="first")(x)
        x = nn.BatchNorm(use_running_average=not self.is_training, name="norm")(x)
        x = nn.relu(x)
        self.interms["features"] = x  # a key: `interms.features[0]`
        x = nn.Dropout(0.2, deterministic=not self.is_training)(x)
        return {"logits": nn.Dense(10, name="last")(x)}


def get_config():
    cfg = digits_classifier.get_config()
    cfg.model = digits_own_model.Network(image="batch.image")
    return cfg
