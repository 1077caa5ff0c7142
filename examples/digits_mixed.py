"""A config with arguments: clean and distorted digits, mixed as one asks for.

    kauldron train --cfg=examples/digits_mixed.py:distorted=0.2 --cfg.workdir=runs/mixed
    kauldron train --cfg=examples/digits_mixed.py --cfg.__args__.distorted=0.2 ...

Arguments are known while the config is built, and may decide what it consists of.
"""

import dataclasses
from typing import Any

from examples import digits_classifier
from kauldron import konfig

with konfig.imports():
    from kauldron import kd


@dataclasses.dataclass(frozen=True)
class ConfigArgs:
    """Arguments of the config.

    Attributes:
      distorted: Share of training examples that are distorted, in [0, 1].
    """

    distorted: float = 0.5


def get_config(args: ConfigArgs):
    cfg = digits_classifier.get_config()
    if args.distorted:
        clean = digits_classifier.make_ds(training=True)
        distorted: Any = digits_classifier.make_ds(training=True)
        distorted.transforms = [
            kd.data.RandAugment(key="image", num_layers=1, magnitude=5.0, fill=0),
            *distorted.transforms,
        ]
        cfg.train_ds = kd.data.py.Mix(
            [clean, distorted],
            weights=[1 - args.distorted, args.distorted],
            batch_size=64,
        )
    return cfg


def sweep():
    for distorted in (0.0, 0.2, 0.5):
        yield {"__args__.distorted": distorted}
