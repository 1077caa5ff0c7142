#!/usr/bin/env bash
# flax 0.12.8, jax 0.10.2: `nn.SpectralNorm(nn.Dense(4, kernel_init=
# nn.with_logical_partitioning(...)))`: a layer whose parameters carry names of their axes.
# Guess: as without names, since all layers of Flax take such initializers; at most the names are
# lost.
# Seen: init fails with "AttributeError: 'GetAttrKey' object has no attribute 'key'": the path to a
# boxed parameter ends with an attribute of the box, and the names of `u` and `sigma` are made of
# dict keys only. The same without names works.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 flax==0.12.8
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import flax.linen as nn
import jax
import jax.numpy as jnp


class Model(nn.Module):
    has_names: bool

    @nn.compact
    def __call__(self, x):
        init = nn.initializers.lecun_normal()
        if self.has_names:
            init = nn.with_logical_partitioning(init, ("embed", "mlp"))
        layer = nn.Dense(4, kernel_init=init)
        return nn.SpectralNorm(layer)(x, update_stats=True)


x = jnp.ones((2, 3))
print("without names", jax.tree.map(jnp.shape, Model(False).init(jax.random.key(0), x)))
try:
    Model(True).init(jax.random.key(0), x)
except AttributeError as error:
    print("with names:", error)
    assert "has no attribute 'key'" in str(error)
else:
    raise SystemExit("names are no trouble any more")
PY
