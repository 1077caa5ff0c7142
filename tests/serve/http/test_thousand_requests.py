"""`kauldron serve` under a thousand requests, of which many are wrong or given up."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import pathlib
import re
import signal
import subprocess
import sys
import time

import httpx2
import numpy as np
import pytest

from tests.lm import small_model

pytestmark = pytest.mark.slow

_ROOT = pathlib.Path(__file__).parents[3]
_CHAT = "/v1/chat/completions"
_TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
_CONTEXT_LENGTH = 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = small_model.save(tmp_path_factory.mktemp("served") / "small")
    tokenizer = dataclasses.replace(small_model.tokenizer(), chat_template=_TEMPLATE)
    tokenizer.save(path)
    return path


@contextlib.contextmanager
def _server(folder):
    """Yields the process of the command, and its address."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "kauldron.cli.main", "serve", f"--hf={folder}"),
            *("--port=0", "--num_slots=8", f"--context_length={_CONTEXT_LENGTH}"),
        ],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stdout:
            if found := re.search(r"at (http://\S+)", line):
                break
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def _body(rng, **changes):
    words = " ".join(rng.choice(small_model.TEXT.split(), rng.integers(1, 12)))
    return {
        "model": "small",
        "messages": [{"role": "user", "content": words}],
        "max_tokens": int(rng.integers(1, 24)),
        "seed": int(rng.integers(2**31)),
        **changes,
    }


def _whole(client, rng):
    n = int(rng.integers(1, 4))
    body = _body(rng, n=n)
    response = client.post(_CHAT, json=body)
    assert response.status_code == 200
    assert len(response.json()["choices"]) == n
    assert response.json()["usage"]["completion_tokens"] <= n * body["max_tokens"]


def _streamed(client, rng):
    with client.stream("POST", _CHAT, json=_body(rng, stream=True)) as response:
        assert response.status_code == 200
        assert response.read().endswith(b"data: [DONE]\n\n")


def _left_in_the_middle(client, rng):
    body = _body(rng, stream=True, max_tokens=_CONTEXT_LENGTH // 2)
    with client.stream("POST", _CHAT, json=body) as response:
        next(response.iter_bytes())


def _given_up(client, rng):
    with contextlib.suppress(httpx2.ReadTimeout):
        client.post(_CHAT, json=_body(rng, n=4, max_tokens=60), timeout=0.02)


def _refused(client, code, **request):
    response = client.post(_CHAT, **request)
    assert response.status_code == code, response.text
    assert response.json()["error"]["message"]


def _bad_json(client, rng):
    headers = {"Content-Type": "application/json"}
    _refused(client, 400, content=b'{"model": "small", "messages": [', headers=headers)


def _wrong_values(client, rng):
    changes = [{"n": 0}, {"temperature": -1}, {"messages": []}, {"top_p": "high"}]
    _refused(client, 400, json=_body(rng, **changes[rng.integers(len(changes))]))


def _too_long(client, rng):
    messages = [{"role": "user", "content": "To be " * 200}]
    _refused(client, 400, json=_body(rng, messages=messages))


def _unknown_model(client, rng):
    _refused(client, 404, json=_body(rng, model="large"))


_KINDS = (
    *(_whole, _whole, _whole, _streamed, _streamed, _left_in_the_middle, _given_up),
    *(_bad_json, _wrong_values, _too_long, _unknown_model),
)


def _send(address, number):
    """Sends a request; returns what kind it was."""
    rng = np.random.default_rng(number)
    kind = _KINDS[rng.integers(len(_KINDS))]
    with httpx2.Client(base_url=address, timeout=60) as client:
        kind(client, rng)
    return kind.__name__


def _send_many(address, numbers):
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        return collections.Counter(pool.map(lambda i: _send(address, i), numbers))


def _wait_until_idle(address):
    deadline = time.monotonic() + 30
    while True:
        stats = httpx2.get(f"{address}/stats").json()
        if stats["running"] == stats["waiting"] == 0:
            return stats
        assert time.monotonic() < deadline, stats
        time.sleep(0.05)


def _resident_mb(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_requests_leave_nothing_behind_and_the_server_ends_well(folder):
    with _server(folder) as (process, address):
        kinds = _send_many(address, range(500))
        _wait_until_idle(address)
        middle = _resident_mb(process)
        kinds += _send_many(address, range(500, 1000))
        stats = _wait_until_idle(address)
        assert sum(kinds.values()) == 1000
        assert set(kinds) == {kind.__name__ for kind in _KINDS}
        assert stats["pages_free"] == stats["pages"]
        assert stats["cancelled"] > 10
        assert _resident_mb(process) - middle < 16
        # Answers do not depend on what came before: greedy ones are the same again.
        body = _body(np.random.default_rng(0), temperature=0, max_tokens=20)
        with httpx2.Client(base_url=address, timeout=60) as client:
            first, again = (client.post(_CHAT, json=body).json() for _ in range(2))
            assert first["choices"] == again["choices"]
            # SIGTERM lets an answer end that has begun.
            stream = {**body, "stream": True, "max_tokens": 90}
            with client.stream("POST", _CHAT, json=stream) as response:
                pieces = response.iter_bytes()
                next(pieces)
                process.send_signal(signal.SIGTERM)
                assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
        assert process.wait(timeout=60) == 0


def test_a_killed_server_serves_again(folder):
    with _server(folder) as (process, address):
        first = httpx2.post(
            f"{address}{_CHAT}", json=_body(np.random.default_rng(1)), timeout=60
        )
        process.kill()
        process.wait()
    with _server(folder) as (_, address):
        again = httpx2.post(
            f"{address}{_CHAT}", json=_body(np.random.default_rng(1)), timeout=60
        )
    assert first.json()["choices"] == again.json()["choices"]
