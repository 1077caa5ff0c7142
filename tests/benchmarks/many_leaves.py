"""Steps of a model of many small arrays, ours and by hand: what handing them over costs.

    python -m tests.benchmarks.many_leaves 10000 8

prints seconds of a step in each round, on as many simulated devices. Nearly all arrays leave
the step as they came: this is about the host, and XLA works for minutes on so many updates.
"""

from __future__ import annotations

import json
import os
import sys

from tests import devices, quick_flags
from tests.benchmarks import clocks

_NUM_ROUNDS = clocks.rounds(7)


def run(num_leaves: int, num_devices: int) -> dict[str, list[clocks.Secs]]:
    """Returns name -> seconds of a step in each round."""
    flags = f"{devices.xla_flags(num_devices)} {quick_flags.of_xla()}"
    os.environ["XLA_FLAGS"] = flags
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import optax

    from kauldron import kd
    from tests.benchmarks import loops, small_models

    class Leaves(nn.Module):
        x: kd.kontext.Key = "batch.x"

        @nn.compact
        def __call__(self, x):
            def init(_):
                return {str(i): jnp.ones(8) for i in range(num_leaves)}

            # The others get gradients of zero: a sum of all would be one large kernel.
            leaves = self.param("leaves", init)
            return {"logits": leaves["0"].sum() * x[:, :2]}

    trainer = loops.make_trainer(
        None,
        small_models.points(),
        model=Leaves(),
        optimizer=optax.set_to_zero(),
        sharding="fsdp" if num_devices > 1 else kd.sharding.ShardingStrategy(),
    )
    batch = next(iter(trainer.train_ds))
    batch = kd.sharding.device_put(batch, trainer.sharding.batch)
    states = {"ours": trainer.init_state(), "by hand": trainer.init_state()}
    state = states["by hand"]
    states["by hand"] = (state.params, state.opt_state, state.step)

    jitted = jax.jit(
        loops.plain_step(trainer.model, trainer.optimizer),
        donate_argnums=0,
        out_shardings=(
            jax.tree.map(lambda x: x.sharding, states["by hand"]),
            trainer.sharding.replicated,
        ),
    )
    steps = {"ours": trainer.trainstep.step, "by hand": jitted}
    num_steps = max(10, 20_000 // num_leaves // num_devices)

    def make(name):
        def several():
            for _ in range(num_steps):
                states[name], _ = steps[name](states[name], batch)
                if num_devices > 1:  # as the loop does with simulated devices
                    jax.block_until_ready(states[name])
            jax.block_until_ready(states[name])

        return lambda: clocks.timed(several)().per(num_steps)

    secs = clocks.in_turn({name: make(name) for name in steps}, _NUM_ROUNDS)
    assert trainer.trainstep._jitted_step._cache_size() == 1
    return secs


if __name__ == "__main__":
    print(json.dumps(run(*map(int, sys.argv[1:]))))
