#!/usr/bin/env bash
# jax 0.10.2: the batch is split over a mesh axis along its rows, the weights of two layers
# over the same axis (ZeRO-3, FSDP), and jit places everything in between.
# Guess: each device gathers the weights, and computes its own rows.
# Seen: no weight is gathered. The rows are, and each device computes all of them for its
# features, then sums up: f32[256,1024], the whole batch, is on every device. A constraint
# on the activations (`P("x")` along the rows) gives what was expected.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import re

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))


def placed(shape, *spec):
    sharding = NamedSharding(mesh, P(*spec))
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)


def gathered(constrain):
    def loss(weights, batch):
        hidden = constrain(jax.nn.relu(batch @ weights[0]))
        return jnp.sum((constrain(hidden @ weights[1]) - batch) ** 2)

    def step(weights, batch):
        grads = jax.grad(loss)(weights, batch)
        return jax.tree.map(lambda w, g: w - g, weights, grads)

    weights = (placed((1024, 4096), None, "x"), placed((4096, 1024), "x"))
    shardings = tuple(w.sharding for w in weights)
    program = jax.jit(step, out_shardings=shardings)
    text = program.lower(weights, placed((256, 1024), "x")).compile().as_text()
    return sorted(set(re.findall(r"= f32\[([\d,]+)\]\S* all-gather\(", text)))


rows = NamedSharding(mesh, P("x"))
plain = gathered(lambda x: x)
kept = gathered(lambda x: jax.lax.with_sharding_constraint(x, rows))
print("gathered:", plain, "with a constraint:", kept)
assert "256,1024" in plain and not {"1024,4096", "4096,1024"} & set(plain)
assert "256,1024" not in kept and {"1024,4096", "4096,1024"} & set(kept)
PY
