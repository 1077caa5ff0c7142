#!/usr/bin/env bash
# ipykernel 7.4.0, debugpy 1.8.22: `breakpoint()` in a cell of a notebook.
# Guess: it enters pdb, and asks in the cell, as `pdb.set_trace()` does there.
# Seen: debugpy, which comes with ipykernel, has put its hook there, which waits for the debugger
# of an editor; where none is attached, the line does nothing, and nothing is told.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ipykernel==7.4.0 debugpy==1.8.22 jupyter_client==8.10.0
cd "$folder"
IPYTHONDIR="$folder/ipython" "$folder/venv/bin/python" - <<'PY'
import queue

from jupyter_client import manager


def asks(code):
    """Whether a cell asks for a command before it ends."""
    request = client.execute(code, allow_stdin=True)
    while True:
        try:
            client.get_stdin_msg(timeout=0.1)
            client.input("c")
            return True
        except queue.Empty:
            pass
        try:
            message = client.get_iopub_msg(timeout=0.1)
        except queue.Empty:
            continue
        is_ours = message["parent_header"].get("msg_id") == request
        if is_ours and message["content"].get("execution_state") == "idle":
            return False


kernel, client = manager.start_new_kernel(kernel_name="python3")
try:
    by_hook = asks("breakpoint()\nx = 1")
    by_pdb = asks("import pdb\npdb.set_trace()\nx = 1")
finally:
    client.stop_channels()
    kernel.shutdown_kernel(now=True)
print("asked: breakpoint()", by_hook, "pdb.set_trace()", by_pdb)
assert by_pdb and not by_hook
PY
