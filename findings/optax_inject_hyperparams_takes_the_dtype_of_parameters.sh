#!/usr/bin/env bash
# optax 0.2.8, jax 0.10.2: `optax.inject_hyperparams(optax.adamw)(1e-3)` with bf16 parameters.
# Guess: hyperparameters are kept in f32.
# Seen: they take the dtype of the parameters. `b2 = 0.999` becomes 1.0, the bias correction
# divides by zero, and the first update is NaN.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 optax==0.2.8
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax.numpy as jnp
import optax

adamw = optax.inject_hyperparams(optax.adamw)(1e-3)
w = jnp.ones(3, jnp.bfloat16)
state = adamw.init(w)
update, _ = adamw.update(jnp.ones(3, jnp.bfloat16), state, w)
print("b2", state.hyperparams["b2"], "first update", update)
assert float(state.hyperparams["b2"]) == 1 and bool(jnp.isnan(update).all())
PY
