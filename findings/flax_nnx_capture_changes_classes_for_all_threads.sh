#!/usr/bin/env bash
# flax 0.12.8: `nnx.capture` with `method_outputs`, while another thread uses the same class.
# Guess: it records the module that it is given.
# Seen: as long as it runs, methods are replaced in the classes of that module: a call of another
# module of the class, in another thread and without `capture`, raises a ValueError ("Expected
# '__call__' to be a Variable"). Afterwards the class is as before. Threads that record, or call
# modules of recorded classes, have to take turns.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check flax==0.12.8 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import threading

import jax.numpy as jnp
from flax import nnx


class Double(nnx.Module):
    def __call__(self, x, meanwhile=lambda: None):
        meanwhile()
        return 2 * x


recorded, other = Double(), Double()
original = Double.__call__
seen = []


def call_other():
    try:
        seen.append(other(jnp.ones(3)).tolist())
    except ValueError as e:
        seen.append(str(e))


def in_another_thread():
    seen.append(Double.__call__ is original)
    thread = threading.Thread(target=call_other)
    thread.start()
    thread.join()


call_other()
capture = nnx.capture(recorded, nnx.Intermediate, method_outputs=nnx.Intermediate)
result, _ = capture(jnp.ones(3), in_another_thread)
call_other()
print(result.tolist(), seen)
assert result.tolist() == [2.0, 2.0, 2.0]
before, is_original, meanwhile, after = seen
assert before == after == [2.0, 2.0, 2.0] and not is_original
assert "Expected '__call__' to be a Variable" in meanwhile
assert Double.__call__ is original
PY
