"""What a server of apps costs: a small call of a warm app, a large upload; in one run.

make bench
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import select
import socket
import statistics
import subprocess
import sys
import time

import httpx
import jax
import numpy as np
import pytest
from PIL import Image

from examples import app_digits
from kauldron import kd, konfig
from tests.apps.bundles import made
from tests.benchmarks import clocks
from tests.benchmarks import figures as figures_lib

pytestmark = pytest.mark.bench

_ROOT = pathlib.Path(__file__).parents[2]
_UPLOAD_BYTES = 2**30
_NUM_CALLS = 300

_SERVE = """
import socket
listening = socket.create_server(("127.0.0.1", 0))
print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
uvicorn.Server(config).run(sockets=[listening])
"""

# What one would write without us: the body as it comes, to a file.
_BARE_COPY = f"""
import sys, uvicorn

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    with open(sys.argv[1], "wb") as f:
        more = True
        while more:
            message = await receive()
            f.write(message.get("body", b""))
            more = message.get("more_body", False)
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"{{}}"}})
{_SERVE}"""

# The same call as a route of FastAPI that computes nothing, and answers as many bytes.
_BARE_ROUTE = f"""
import sys, fastapi, uvicorn

app = fastapi.FastAPI()

@app.post("/infer")
async def infer(inputs: fastapi.UploadFile):
    data = await inputs.read()
    return fastapi.Response(bytes(int(sys.argv[1])), media_type="application/zip")
{_SERVE}"""

# A route that hands the bytes to a second process and sends what that gives: a server that
# does not compute itself has to do at least this. The code of that process comes first.
_ROUTE_WITH_PROCESS = f"""
import asyncio, subprocess, sys, fastapi, uvicorn

pipes = {{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}}
other = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], **pipes)
answers = None
app = fastapi.FastAPI()

@app.post("/infer")
async def infer(inputs: fastapi.UploadFile):
    global answers
    if answers is None:
        answers = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(answers), other.stdout
        )
    data = await inputs.read()
    other.stdin.write(b"%d\\n" % len(data) + data)
    other.stdin.flush()
    content = await answers.readexactly(int(await answers.readline()))
    return fastapi.Response(content, media_type="application/zip")
{_SERVE}"""

_ANSWERS = """
import sys
while line := sys.stdin.buffer.readline():
    content = answer(sys.stdin.buffer.read(int(line)))
    sys.stdout.buffer.write(b"%d\\n" % len(content) + content)
    sys.stdout.buffer.flush()
"""

# It computes nothing, and answers as many bytes.
_ECHO = f"""
def answer(data):
    return bytes(int(sys.argv[1]))
{_ANSWERS}"""

# What one would write by hand for this one model: nothing is checked.
_BY_HAND = f"""
import csv, io, json, sys, zipfile
import jax, numpy as np
from PIL import Image
from kauldron import kd

jax.config.update("jax_cpu_enable_async_dispatch", False)
model = kd.export.load(sys.argv[1], weights=sys.argv[2])

def answer(data):
    image = Image.open(io.BytesIO(data)).convert("L").resize((8, 8), 2)
    pixels = np.asarray(image, np.float32)[None, ..., None] / 255
    logits = np.asarray(model({{"image": pixels}})["logits"])[0]
    scores = np.exp(logits - logits.max())
    probabilities = (scores / scores.sum()).tolist()
    label = int(logits.argmax())
    table = io.StringIO()
    row = [label, probabilities[label], *probabilities]
    csv.writer(table).writerows([["label", "probability", *range(10)], row])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as z:
        z.writestr("logits.csv", table.getvalue())
        value = {{"label": label, "probability": probabilities[label]}}
        z.writestr("result.json", json.dumps({{"digit": value}}))
    return content.getvalue()
{_ANSWERS}"""


@contextlib.contextmanager
def _process(*command):
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = None
        while address is None:
            assert select.select([process.stdout], [], [], 120)[0]
            line = process.stdout.readline()
            address = re.search(r"http://[\d.:]+\d", line) if line else None
        yield process, address[0]
    finally:
        process.kill()
        process.communicate()


def _upload(url, path, head=b"", tail=b"", kind="application/octet-stream"):
    """Sends a large body from memory; returns the seconds until the answer, and that."""
    host, _, port = url.removeprefix("http://").partition(":")
    piece = np.random.default_rng(0).bytes(2**20)
    length = len(head) + _UPLOAD_BYTES + len(tail)
    lines = [f"POST {path} HTTP/1.1", f"host: {host}:{port}", f"content-type: {kind}"]
    lines += [f"content-length: {length}", "connection: close", "", ""]
    with socket.create_connection((host, int(port))) as connection:
        start = time.perf_counter()
        connection.sendall("\r\n".join(lines).encode() + head)
        for _ in range(_UPLOAD_BYTES // len(piece)):
            connection.sendall(piece)
        connection.sendall(tail)
        answer = connection.recv(2**16)
        return time.perf_counter() - start, answer


def _memory_mb(process, name):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1024


def test_a_large_upload_is_as_fast_as_a_bare_copy_and_takes_no_memory(
    tmp_path, figures
):
    made.write(tmp_path / "app")
    head = b'--b\r\ncontent-disposition: form-data; name="inputs"; filename="a.nii"\r\n\r\n'
    server = ("-m", "tests.apps.jobs.plain_server", tmp_path / "state")
    changes = json.dumps({"max_cpu_jobs": 1})
    bare, ours = [], []
    with (
        _process("-c", _BARE_COPY, tmp_path / "copy") as (_, bare_url),
        _process(*server, changes, tmp_path / "app") as (process, url),
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        http.get("/health")
        time.sleep(1)
        idle = _memory_mb(process, "VmRSS")
        for _ in range(3):
            bare.append(_upload(bare_url, "/")[0])
            # Without an input that the app needs, so that no job begins to copy it.
            kind = "multipart/form-data; boundary=b"
            tail = b'\r\n--b\r\ncontent-disposition: form-data; name="tta"\r\n\r\n99\r\n--b--'
            path = "/apps/tissues/infer"
            secs, answer = _upload(url, path, head, tail + b"\r\n", kind)
            assert b" 422 " in answer.split(b"\r\n")[0], answer
            ours.append(secs)
        peak = _memory_mb(process, "VmHWM")
    rate = _UPLOAD_BYTES / 2**20 / statistics.median(bare)
    figures.number(
        "upload of 1 GiB to the server of apps",
        [theirs / mine for theirs, mine in zip(bare, ours, strict=True)],
        figures_lib.TIMES,
        against=f"the throughput of a bare copy to a file ({rate:,.0f} MiB/s)",
        budget=0.8,
        is_more_better=True,
    )
    figures.number(
        "the same upload: memory of the server above idle",
        [peak - idle],
        "MiB",
        budget=64,
    )


def _processor_ms(process):
    """Returns what a process and its children have used, in ms."""
    total, found = 0, [process.pid]
    for pid in found:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
            found += map(int, (task / "children").read_text().split())
    return total / 1e6


def _with_priority(*processes):
    """Gives processes, and this one, priority over programs beside them, if it may.

    The worker of an app is in a session of its own, and sessions share the processors
    equally where the kernel groups them: the longest waits are for those of others.
    """
    pids = [os.getpid(), *(process.pid for process in processes)]
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            pids += map(int, (task / "children").read_text().split())
    for pid in dict.fromkeys(pids):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, -19)
            pathlib.Path(f"/proc/{pid}/autogroup").write_text("-19")


def _timed(call, process):
    """Returns a function that calls often, for `clocks.in_turn`.

    It returns the median by the clock, and the mean of what a process and its children
    use: the client, which is the same for all, does not count.
    """

    def run():
        times, before = [], _processor_ms(process)
        for _ in range(_NUM_CALLS):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        used = (_processor_ms(process) - before) / 1e3
        return clocks.Secs(statistics.median(times), used / _NUM_CALLS)

    return run


@contextlib.contextmanager
def _client(url, path, data):
    """Yields a function that sends a picture and returns the answer."""
    with httpx.Client(base_url=url, timeout=120) as http:

        def call():
            files, headers = {"inputs": ("digit.png", data)}, {"Prefer": "wait=60"}
            answer = http.post(path, files=files, headers=headers)
            assert answer.status_code == 200, answer.text
            return answer.content

        yield call


def test_a_warm_call_costs_little_more_than_the_jitted_one_and_a_bare_route(
    tmp_path, digits_bundle, figures
):
    image = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "digit.png")
    data = (tmp_path / "digit.png").read_bytes()
    (weights,) = (digits_bundle / "members").glob("*.safetensors")
    serve = ("-m", "kauldron.cli.main", "apps", "serve", f"--apps={digits_bundle}")
    flags = ("--port=0", f"--state={tmp_path / 'state'}", "--warm=digits")
    with contextlib.ExitStack() as stack:
        processes, calls = {}, {}

        def add(name, path, *command):
            processes[name], url = stack.enter_context(_process(*command))
            calls[name] = stack.enter_context(_client(url, path, data))
            return url

        url = add("ours", "/apps/digits/infer", *serve, *flags)
        while not httpx.get(f"{url}/repo_apps/digits").json()["is_warm"]:
            time.sleep(0.1)
        size = len(calls["ours"]())
        by_hand = (_BY_HAND, digits_bundle / "program", weights)
        add("route", "/infer", "-c", _BARE_ROUTE, size)
        add("hop", "/infer", "-c", _ROUTE_WITH_PROCESS, _ECHO, size)
        add("by hand", "/infer", "-c", _ROUTE_WITH_PROCESS, *by_hand)
        for call in calls.values():
            call()  # its second process has started
        _with_priority(*processes.values())
        runs = {name: _timed(call, processes[name]) for name, call in calls.items()}
        loaded = kd.export.load(digits_bundle / "program", weights=weights)
        batch = {"image": jax.numpy.zeros((1, 8, 8, 1))}
        jitted = statistics.median(
            secs.wall
            for secs in clocks.of_one(lambda: jax.block_until_ready(loaded(batch)), 100)
        )
        secs = clocks.in_turn(runs, num_rounds=5)
    _tell(figures, secs, jitted)


def _tell(figures, secs, jitted):
    least = [clocks.Secs(*(x + jitted for x in route)) for route in secs["route"]]
    ms = {k: clocks.spread(x.wall * 1e3 for x in found) for k, found in secs.items()}
    what = "a picture to a warm app over HTTP"
    figures.number(f"{what}, median", [x.wall * 1e3 for x in secs["ours"]], "ms")
    figures.ratio(
        what,
        secs["ours"],
        least,
        against="the jitted call and a bare route of FastAPI "
        f"({jitted * 1e3:.2g} and {ms['route'].median:.2g} ms)",
        budget=1.3,
    )
    figures.ratio(
        f"{what}, against the like by hand",
        secs["ours"],
        secs["by hand"],
        against="a route of FastAPI and a process that decodes by Pillow, calls the "
        f"program, writes a zip, and checks nothing ({ms['by hand'].median:.2g} ms)",
    )
    figures.ratio(
        f"{what}: a process besides that of the server, which sends as many bytes",
        secs["hop"],
        secs["route"],
        against=f"a bare route of FastAPI ({ms['route'].median:.2g} ms)",
    )


@pytest.fixture
def digits_bundle(tmp_path):
    """An app of a run on digits; it takes pictures of any size."""
    cfg = app_digits.get_config()
    cfg.workdir = str(tmp_path / "run")
    cfg.num_train_steps = 20
    konfig.resolve(cfg).train()
    kd.apps.bundle(
        tmp_path / "run",
        tmp_path / "bundle",
        about=kd.apps.Description(name="digits"),
        trusted=["examples"],
    )
    return tmp_path / "bundle"
