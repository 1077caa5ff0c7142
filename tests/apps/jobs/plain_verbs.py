"""Stands for `kauldron apps VERB`: does what its input says, without JAX, in 30 ms.

The first input is a JSON object: `print` lines, `sleep` seconds, `ignore_term`, `child`
sleeps in a process of its own, `fill` writes bytes, `table` a CSV, `error` and `code` end it, `traceback`
raises; the output is the file of the name `copy`, a copy of the input.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

RESULT = {
    "format_version": 1,
    "verb": "infer",
    "app": {"name": "tissues", "version": "1.0.0"},
    "applied": {},
    "cases": ["a"],
    "files": [
        {"path": "copy.npy", "kind": "segmentation", "output": "tissue", "case": "a"}
    ],
    "values": {"overall": {"dice": 0.5}},
}


def act(path, out):
    data = pathlib.Path(path).read_bytes()
    told = json.loads(data) if data.startswith(b"{") else {}
    if told.get("ignore_term"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in told.get("print", ()):
        print(line, flush=True)
    if "child" in told:
        subprocess.Popen(["sleep", str(told["child"])])
    if told.get("traceback"):
        raise ValueError(f"of {os.getcwd()}/secret.py")
    time.sleep(told.get("sleep", 0))
    out.mkdir(parents=True, exist_ok=True)
    (out / "copy.npy").write_bytes(data)
    if "fill" in told:
        (out / "large.npy").write_bytes(bytes(told["fill"]))
    if "error" in told:
        print(f"Error: {told['error']}", file=sys.stderr)
    if "code" in told:
        sys.exit(told["code"])
    result = RESULT
    if "table" in told:
        (out / "scores.csv").write_text(told["table"])
        table = {"path": "scores.csv", "kind": "table", "output": "x", "case": None}
        result = {**RESULT, "files": [table]}
    (out / "result.json").write_text(json.dumps(result))


def answer_in_memory(asked, answers):
    """Does what `act` does, without a folder that lasts."""
    contents = {
        name: sys.stdin.buffer.read(size) for name, size in asked["contents"].items()
    }
    (paths,) = asked["call"]["inputs"].values()
    with tempfile.TemporaryDirectory() as folder:
        source, out = pathlib.Path(folder, "source"), pathlib.Path(folder, "out")
        source.write_bytes(contents[paths[0]])
        act(source, out)
        files = {x.name: x.read_bytes() for x in sorted(out.iterdir())}
    sizes = {name: len(content) for name, content in files.items()}
    if sum(sizes.values()) > 2**20:
        error = {"code": "too_large", "message": "large"}
        print(json.dumps({"error": error}), file=answers, flush=True)
        return
    line = json.dumps({"contents": sizes}).encode() + b"\n"
    answers.buffer.write(b"".join([line, *files.values()]))
    answers.flush()


def work():
    """Stands for `kauldron apps worker`."""
    answers, sys.stdout = sys.stdout, sys.stderr  # as `serve_lines` does
    in_memory = "--in_memory" in sys.argv
    ready = {"ready": True, "works_in_memory": in_memory}
    print(json.dumps(ready), file=answers, flush=True)
    while line := sys.stdin.buffer.readline():
        asked = json.loads(line)
        try:
            if "contents" in asked:
                answer_in_memory(asked, answers)
                continue
            (paths,) = asked["call"]["inputs"].values()
            act(paths[0], pathlib.Path(asked["out"]))
            answer = {"result": RESULT}
        except ValueError as error:
            answer = {"error": {"code": "mistake", "message": str(error)}}
        except OSError as error:
            answer = {"error": {"code": "disk_full", "message": str(error)}}
        print(json.dumps(answer), file=answers, flush=True)


def main():
    verb = sys.argv[2]
    if verb == "worker":
        work()
        return
    values = [x.partition("=")[::2] for x in sys.argv[3:] if x.startswith("--")]
    paths = [v.partition("=")[2] for k, v in values if k == "--input"]
    print(
        json.dumps({"progress": 0.5, "message": f"{verb} of {len(paths)}"}), flush=True
    )
    act(paths[0], pathlib.Path(dict(values)["--out"]))


if __name__ == "__main__":
    main()
