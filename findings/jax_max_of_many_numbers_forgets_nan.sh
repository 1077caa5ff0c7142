#!/usr/bin/env bash
# jax 0.10.2, CPU, as installed: `jnp.max` and `jnp.min` of f32 with a NaN among them, jitted.
# Guess: the result is NaN, as NumPy's is, and as `jnp.maximum` and `jnp.sum` keep it.
# Seen: of arrays of 4,096 numbers or more (16 x 256, 512 x 512, 16 x 49,152; not 3 x 1,000)
# the NaN is lost, wherever it is and over whichever axis: the largest of the other numbers
# comes out. Smaller arrays give NaN. So a check like `isfinite(max(abs(x)))` passes arrays
# that have NaNs; `isfinite(sum(x))`, or `all(isfinite(x))`, does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
env -u XLA_FLAGS JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
import numpy as np


def keeps_nan(find, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x[0, 5] = np.nan
    return bool(np.isnan(np.asarray(jax.jit(find)(x))).any())


def largest_of_rows(x):
    return jnp.max(x, axis=-1)


for find in (jnp.max, jnp.min, largest_of_rows):
    for shape, is_kept in {(4, 8): True, (3, 1000): True, (16, 256): False, (512, 512): False}.items():
        found = keeps_nan(find, shape)
        print(find.__name__, shape, "NaN" if found else "no NaN")
        assert found == is_kept
assert keeps_nan(jnp.sum, (512, 512))
PY
