#!/usr/bin/env bash
# jax 0.10.2: a gradient that is summed over 8 simulated CPU devices and split over them.
# Guess: a reduce-scatter, as GPUs and TPUs have it: each device sends 7/8 of the bytes, and
# never holds the whole sum.
# Seen: an all-reduce, and each device cuts its part out: twice the bytes are sent, and the
# whole gradient is held. Plans of CPU devices say more than those of GPUs. (The CPU has a
# reduce-scatter: `jax.lax.psum_scatter` in `jax.shard_map` is one.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
split = NamedSharding(mesh, P("x"))


def placed(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=split)


def text(function):
    return jax.jit(function, out_shardings=split).lower(
        placed(64, 128), placed(64, 256)
    ).compile().as_text()


by_jit = text(lambda x, g: x.T @ g)
by_hand = text(
    jax.shard_map(
        lambda x, g: jax.lax.psum_scatter(x.T @ g, "x", tiled=True),
        mesh=mesh,
        in_specs=P("x"),
        out_specs=P("x"),
    )
)
print("jit:", "all-reduce(" in by_jit, "reduce-scatter(" in by_jit)
print("psum_scatter:", "all-reduce(" in by_hand, "reduce-scatter(" in by_hand)
assert "all-reduce(" in by_jit and "reduce-scatter(" not in by_jit
assert "reduce-scatter(" in by_hand and "all-reduce(" not in by_hand
PY
