#!/usr/bin/env bash
# IPython 9.18.1: `%autoreload 2` after edits of a module that is in use.
# Guess: code in the next cell is that of the file, as after `importlib.reload`: a field that
# was added to a dataclass is there, a method that was changed runs as changed.
# Seen: what is not decorated changes; the dataclass keeps its fields, and a decorated method
# goes on with the code of before (20 for 2000). Nothing is told. `importlib.reload` has both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ipython==9.18.1
cd "$folder"
IPYTHONDIR="$folder/ipython" PYTHONDONTWRITEBYTECODE=1 "$folder/venv/bin/python" - <<'PY'
import pathlib
import sys
import time

from IPython.core.interactiveshell import InteractiveShell

sys.path.insert(0, "")
text = '''
import dataclasses, functools

def wrapped(function):
    @functools.wraps(function)
    def run(*args):
        return function(*args)
    return run

@dataclasses.dataclass
class Point:
    a: int = 1

class Model:
    def plain(self, x):
        return x * 10
    @wrapped
    def decorated(self, x):
        return x * 10
'''
pathlib.Path("own.py").write_text(text)
shell = InteractiveShell.instance()


def cell(code):
    shell.run_cell(f"value = {code}").raise_error()
    return shell.user_ns["value"]


for line in ("%load_ext autoreload", "%autoreload 2", "import own, importlib"):
    shell.run_cell(line).raise_error()
before = cell("(own.Model().plain(2), own.Model().decorated(2), own.Point())")
time.sleep(1.1)  # files have the time of a second
changed = text.replace("x * 10", "x * 1000").replace("a: int = 1", "a: int = 1\n    b: int = 2")
pathlib.Path("own.py").write_text(changed)
after = cell("(own.Model().plain(2), own.Model().decorated(2), repr(own.Point()))")
again = cell(
    "importlib.reload(own) and (own.Model().decorated(2), repr(own.Point()))"
)
print("before:", before, "autoreload:", after, "importlib.reload:", again)
assert after == (2000, 20, "Point(a=1)")
assert again == (2000, "Point(a=1, b=2)")
PY
