#!/usr/bin/env bash
# jax 0.10.2, on a CPU: a step with `donate_argnums=0` while a NumPy view of its argument lives.
# Guess: the argument is deleted, and its memory is the result's; what the view shows is
# undefined, as JAX has been told that nobody needs it.
# Seen: nothing is donated, without a word: the argument is not deleted and keeps its values,
# and the result is in new memory, whose first use takes longer than the step. Orbax relies on
# it: its save copies nothing on a CPU, and the step after it pays.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
import numpy as np

step = jax.jit(lambda x: x + 1, donate_argnums=0)
x = jnp.zeros(1_000_000).block_until_ready()
before = x.unsafe_buffer_pointer()
y = step(x).block_until_ready()
print("without a view: deleted", x.is_deleted())
assert x.is_deleted() and y.unsafe_buffer_pointer() == before

view = np.asarray(y)
before = y.unsafe_buffer_pointer()
z = step(y).block_until_ready()
print("with a view: deleted", y.is_deleted())
assert not y.is_deleted() and z.unsafe_buffer_pointer() != before
assert (view == 1).all() and (y == 1).all() and (z == 2).all()
PY
