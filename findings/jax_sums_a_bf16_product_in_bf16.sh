#!/usr/bin/env bash
# jax 0.12.0.1, CPU: gradient of a weight in bf16. Needs Python 3.12 or later.
# Guess: a matrix product in bf16 adds its terms up in f32 and rounds once, as in jax 0.10.2.
# Seen: not if one of its operands is made of an array that is the same along one of the axes
# that are summed over, as the gradient of a mean weighted by position is, for all rows of a
# batch: with 64 rows of 512, it is 0.594 for what is 0.94 in f32. With one such axis, rows
# and positions together (32,768 of them), it is right, and so it is in f32.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.12.0.1 jaxlib==0.12.0.1 numpy==2.5.5
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
import numpy as np

rng = np.random.default_rng(0)


def gradient(lead, dtype):
    x = jnp.asarray(rng.uniform(0.5, 2, (*lead, 4)), dtype)
    weights = jnp.asarray(np.linspace(1, 2, lead[-1]), dtype)[:, None]

    def loss(kernel):
        return ((x @ kernel) * weights).astype(jnp.float32).mean()

    return np.asarray(jax.jit(jax.grad(loss))(jnp.ones((4, 2), dtype)), np.float64)


found = {
    (lead, dtype): gradient(lead, dtype)
    for lead in ((64, 512), (32_768,))
    for dtype in ("bfloat16", "float32")
}
for (lead, dtype), kernel in found.items():
    print(lead, dtype, kernel[:, 0])
# The mean of x is 1.25, that of the weights 1.5, and there are two outputs.
expected = 1.25 * 1.5 / 2
for (lead, dtype), kernel in found.items():
    is_wrong = lead == (64, 512) and dtype == "bfloat16"
    wanted = 0.59375 if is_wrong else expected
    np.testing.assert_allclose(kernel, wanted, rtol=0 if is_wrong else 0.02)
PY
echo "As described."
