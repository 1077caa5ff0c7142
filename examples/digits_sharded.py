"""Another config, with parameters and optimizer split over all devices.

Runs on one device or many, and gives the same numbers:

    XLA_FLAGS=--xla_force_host_platform_device_count=8 \\
        kauldron train --cfg=examples/digits_sharded.py --cfg.workdir=runs/sharded
"""

from examples import digits_autoencoder
from kauldron import konfig

with konfig.imports():
    from kauldron import kd


def get_config():
    cfg = digits_autoencoder.get_config()
    cfg.sharding = kd.sharding.ShardingStrategy(
        # These parameters are small: split them all the same, to show it.
        params=kd.sharding.FSDPSharding(min_size_to_shard_mb=0),
    )
    return cfg
