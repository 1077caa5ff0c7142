#!/usr/bin/env bash
# optax 0.2.8: schedules whose transition takes 0 steps.
# Guess: `warmup_constant_schedule(0, 1e-3, warmup_steps=0)` is 1e-3 from the first step, as
# `warmup_cosine_decay_schedule(0, 1e-3, warmup_steps=0, ...)` is.
# Seen: it is 0 for ever, since `linear_schedule` with 0 steps stays at its initial value.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 optax==0.2.8
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import optax

constant = optax.warmup_constant_schedule(0.0, 1e-3, warmup_steps=0)
cosine = optax.warmup_cosine_decay_schedule(0.0, 1e-3, warmup_steps=0, decay_steps=100)
print("constant at step 1000:", float(constant(1000)), "cosine at 0:", float(cosine(0)))
assert float(constant(1000)) == 0 and abs(float(cosine(0)) - 1e-3) < 1e-9
PY
