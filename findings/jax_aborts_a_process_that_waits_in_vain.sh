#!/usr/bin/env bash
# jax 0.10.2, CPU: `jax.distributed.initialize` when the other processes do not come.
# Guess: it raises after `initialization_timeout`, as its documentation says ("the
# initialization will error"), so that a program can tell what is missing and clean up.
# Seen: the process is aborted from C++ (SIGABRT) with a stack trace, several seconds later
# than asked for: no exception, no `finally`, no `atexit`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
cat > wait.py <<'PY'
import atexit
import socket
import jax

with socket.socket() as s:
    s.bind(("localhost", 0))
    port = s.getsockname()[1]
atexit.register(print, "atexit", flush=True)
try:
    jax.distributed.initialize(
        f"localhost:{port}", num_processes=2, process_id=0, initialization_timeout=2
    )
except BaseException as e:
    print("raised", type(e), flush=True)
finally:
    print("finally", flush=True)
PY
code=0
JAX_PLATFORMS=cpu "$folder/venv/bin/python" wait.py > output 2> errors || code=$?
echo "exit code $code, printed: '$(cat output)'"
grep -m1 -o "Terminating process because the JAX distributed service detected" errors
test "$code" -eq 134
test ! -s output
