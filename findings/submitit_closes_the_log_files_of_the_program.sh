#!/usr/bin/env bash
# submitit 1.5.4, CPython: `import submitit` in a program that writes a log file.
# Guess: an import leaves the logging of the program alone; at most the logger `submitit`
# gets handlers.
# Seen: it calls `logging.config.dictConfig`, which closes every handler there is. A
# `FileHandler(mode="w")` writes nothing any more, without a word; a `MemoryHandler` loses
# its target. SUBMITIT_LOG_LEVEL=NOCONFIG before the import avoids it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check submitit==1.5.4 cloudpickle==3.1.2 typing_extensions==4.15.0
cd "$folder"
cat > program.py <<'PY'
import logging, logging.handlers, pathlib

file = logging.FileHandler("run.log", mode="w")
memory = logging.handlers.MemoryHandler(100, target=logging.FileHandler("late.log"))
logger = logging.getLogger("mine")
logger.setLevel("INFO")
logger.handlers = [file, memory]
logger.info("before")
import submitit
logger.info("after")
memory.flush()
print(pathlib.Path("run.log").read_text().split(), memory.target)
PY
default=$(env -u SUBMITIT_LOG_LEVEL "$folder/venv/bin/python" program.py)
without=$(SUBMITIT_LOG_LEVEL=NOCONFIG "$folder/venv/bin/python" program.py)
echo "default:  $default"
echo "NOCONFIG: $without"
[[ $default == "['before'] None" && $without == "['before', 'after'] <FileHandler"* ]]
