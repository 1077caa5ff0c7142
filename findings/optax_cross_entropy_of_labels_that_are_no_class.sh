#!/usr/bin/env bash
# optax 0.2.8, jax 0.10.2: `softmax_cross_entropy_with_integer_labels` of labels -1, -100, 10
# with ten classes.
# Guess: one behaviour for all labels that are no class (NaN, or 0 as for padding).
# Seen: -1 is silently the last class; -100 and 10 give NaN. The gradients are finite: those
# of the NaN rows are the softmax itself, which no longer adds up to 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 optax==0.2.8
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
import optax

xent = optax.softmax_cross_entropy_with_integer_labels
logits = jnp.zeros((3, 10)).at[:, 9].set(1.0)
values = xent(logits, jnp.array([-1, -100, 10]))
last = xent(logits[:1], jnp.array([9]))
gradient = jax.grad(lambda x: xent(x, jnp.array([-1, -100, 10])).sum())(logits)
print("values", values, "of the last class", last)
print("sums of the gradients of rows", gradient.sum(axis=-1))
assert values[0] == last[0] and bool(jnp.isnan(values[1:]).all())
assert bool(jnp.allclose(gradient.sum(axis=-1), jnp.array([0.0, 1.0, 1.0]), atol=1e-6))
PY
