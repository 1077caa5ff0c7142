"""Malformed requests, keys, clients that go, an engine that ends; what the server says of itself."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import httpx2
import pytest
from starlette.middleware.base import BaseHTTPMiddleware

from kauldron import kd
from tests.serve.http import scripted_engine

CHAT, TEXT, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/messages"
EMBED, COUNT = "/v1/embeddings", "/v1/messages/count_tokens"
POSTS = (CHAT, TEXT, EMBED, MESSAGES, COUNT)
RIGHT = {
    CHAT: {"model": "scripted", "messages": [{"role": "user", "content": "Hi!"}]},
    TEXT: {"model": "scripted", "prompt": "Hi!"},
    EMBED: {"model": "scripted", "input": "Hi!"},
    MESSAGES: {
        "model": "scripted",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hi!"}],
    },
    COUNT: {"model": "scripted", "messages": [{"role": "user", "content": "Hi!"}]},
}
# Bodies that are wrong on every route.
BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a text": b'"x"',
    "null": b"null",
    "no UTF-8": b'{"model": "\xff"}',
    "half a pair": b'{"model": "\\ud800"}',
    "NaN": b'{"model": NaN}',
    "deep": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "a long number": b'{"model": ' + b"9" * 5000 + b"}",
    "no model": b"{}",
    "a model of another type": b'{"model": 1}',
    "large": b'{"model": "' + b"x" * 100_001 + b'"}',
}
# Fields that are wrong, by route.
FIELDS = [
    *((path, {"model": "gpt-4"}) for path in POSTS),
    *((path, {"surprise": 1}) for path in POSTS),
    *((CHAT, {"messages": value}) for value in ("Hi!", {}, [], [1], [{}], [None])),
    *(
        (CHAT, {"messages": [{"role": "user", "content": v}]})
        for v in (1, {}, [1], [{}])
    ),
    *((CHAT, {"n": value}) for value in (0, -1, 1.5, "2", True, 10**400)),
    *((CHAT, {"temperature": value}) for value in (-1, 2.1, "1", [], True, 1e999)),
    *((CHAT, {"max_tokens": value}) for value in (0, -5, "many", {}, 0.5)),
    *((CHAT, {"stop": value}) for value in (1, [1], ["x"] * 17, {"a": 1})),
    *((CHAT, {"tools": value}) for value in ({}, [1], [{"type": "x"}], "f")),
    *((CHAT, {"tool_choice": value}) for value in ("sometimes", {}, 1)),
    *((CHAT, {"response_format": value}) for value in ("json", {}, {"type": "xml"})),
    *((CHAT, {"logit_bias": value}) for value in ({"a": 1}, {"1": "x"}, [], {"-1": 1})),
    *((CHAT, {"stream": value}) for value in ("yes", 1)),
    (CHAT, {"stream_options": {"include_usage": True}}),
    (CHAT, {"stream": True, "stream_options": {"usage": True}}),
    (CHAT, {"seed": 2**70}),
    (CHAT, {"stop_token_ids": ["a"]}),
    *((TEXT, {"prompt": value}) for value in (1, {}, [], [[]], [None], [-1], "")),
    *((EMBED, {"input": value}) for value in (1, {}, [], [[]], [None], [2**40], "")),
    *((MESSAGES, {"max_tokens": value}) for value in (0, "9", None, 1.5)),
    *(
        (MESSAGES, {"messages": value})
        for value in ("Hi!", [], [1], [{"role": "user"}])
    ),
    *((MESSAGES, {"system": value}) for value in (1, {}, [1], [{"type": "image"}])),
    *((MESSAGES, {"stop_sequences": value}) for value in (1, [1], [""])),
    *((MESSAGES, {"tools": value}) for value in ([1], [{}], [{"name": "a b"}])),
    (MESSAGES, {"tool_choice": {"type": "tool"}}),
    (COUNT, {"max_tokens": 9}),
    (CHAT, {"messages": [{"role": "user", "content": "x " * 5000}]}),
    (TEXT, {"prompt": "x " * 5000}),
    (MESSAGES, {"messages": [{"role": "user", "content": "x " * 5000}]}),
]


@pytest.fixture(scope="module")
def http(url):
    with httpx2.Client(base_url=url, timeout=20) as client:
        yield client


def _check_told(response, path):
    assert 400 <= response.status_code < 500, response.text
    assert len(response.content) < 1000
    error = response.json()["error"]
    assert error["message"] and error["type"]
    if path.startswith(MESSAGES):
        assert response.json()["type"] == "error"
    else:
        assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", POSTS)
def test_malformed_bodies_are_told_in_the_vendors_shape(engine, http, path):
    headers = {"Content-Type": "application/json"}
    for body in BODIES.values():
        _check_told(http.post(path, content=body, headers=headers), path)
    assert engine.asked == []


def test_there_are_a_hundred_malformed_requests():
    assert len(BODIES) * len(POSTS) + len(FIELDS) >= 100


def test_wrong_fields_are_told_in_the_vendors_shape(engine, http):
    headers = {"Content-Type": "application/json"}
    for path, fields in FIELDS:
        body = json.dumps(RIGHT[path] | fields).replace("Infinity", "1e999")
        _check_told(http.post(path, content=body, headers=headers), path)
    assert engine.asked == []
    for path in POSTS:
        assert http.post(path, json=RIGHT[path]).status_code == 200


def test_a_body_that_is_not_said_to_be_json_is_refused(engine, http):
    # A page of another origin can send such a body without being asked.
    body = json.dumps(RIGHT[CHAT])
    response = http.post(CHAT, content=body, headers={"Content-Type": "text/plain"})
    assert response.status_code == 415
    _check_told(response, CHAT)


def test_a_long_body_is_refused_before_it_is_sent(engine, url):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000000000\r\n\r\n{"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_unknown_paths_and_methods_are_told(engine, http):
    for path, method, status in [
        ("/v1/nothing", "GET", 404),
        ("/v1/messages/nothing", "POST", 404),
        (CHAT, "GET", 405),
        ("/v1/models", "DELETE", 405),
    ]:
        response = http.request(method, path)
        assert response.status_code == status
        _check_told(response, path)


def test_a_websocket_is_closed():
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message["type"])

    app = kd.serve.make_app(scripted_engine.ScriptedEngine())
    scope = {"type": "websocket", "path": "/v1/realtime", "headers": []}
    asyncio.run(app(scope, receive, send))
    assert sent == ["websocket.close"]


@pytest.mark.parametrize(
    ("headers", "is_allowed"),
    [
        ({}, False),
        ({"Authorization": "Bearer wrong"}, False),
        ({"Authorization": "Basic second"}, False),
        ({"Authorization": "Bearer "}, False),
        ({"Authorization": "Bearer first"}, True),
        ({"authorization": "bearer second"}, True),
        ({"x-api-key": "second"}, True),
        ({"x-api-key": "secon"}, False),
    ],
)
def test_keys(headers, is_allowed):
    engine = scripted_engine.ScriptedEngine()
    app = kd.serve.make_app(engine, api_keys=["first", "second"])
    for path in POSTS:
        status, _ = _ask(app, path, RIGHT[path], headers)
        assert status == (200 if is_allowed else 401)
    assert bool(engine.asked) == is_allowed
    for path in ("/v1/models", "/stats", "/metrics"):
        assert _ask(app, path, None, headers)[0] == (200 if is_allowed else 401)
    for path in ("/", "/health", "/ready"):
        assert _ask(app, path, None, headers)[0] == 200


def _ask(app, path, body, headers=None):
    """Status and text of a call in this process."""

    async def ask():
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://a"
        ) as client:
            if body is None:
                response = await client.get(path, headers=headers)
            else:
                response = await client.post(path, json=body, headers=headers)
            return response.status_code, response.text

    return asyncio.run(ask())


@pytest.mark.parametrize("is_behind_middleware", [False, True])
@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("path", [CHAT, TEXT, MESSAGES, EMBED])
def test_a_client_that_goes_cancels_its_request(
    path, is_streamed, is_behind_middleware
):
    engine = scripted_engine.ScriptedEngine(text="x " * 500, secs_per_token=0.02)
    app = kd.serve.make_app(engine)
    if is_behind_middleware:

        async def look(request, call_next):
            return await call_next(request)

        app.add_middleware(BaseHTTPMiddleware, dispatch=look)
    if path == EMBED:
        if is_streamed:
            return
        engine.secs_per_token = 30
    body = {**RIGHT[path], **({"stream": True} if is_streamed else {})}
    if path in (CHAT, MESSAGES):
        body["max_tokens"] = 500
    asyncio.run(_leave(app, path, body, engine))
    assert engine.num_running == 0
    assert engine.num_cancelled == 1


async def _leave(app, path, body, engine):
    """Calls an application, and goes once the engine works."""
    is_gone = asyncio.Event()
    messages = [
        {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}
    ]

    async def receive():
        if messages:
            return messages.pop()
        await is_gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json")],
    }
    task = asyncio.create_task(app(scope, receive, send))
    async with asyncio.timeout(20):
        while not engine.num_running:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    is_gone.set()
    started = time.monotonic()
    await asyncio.wait_for(task, 10)
    assert time.monotonic() - started < 5


def test_a_closed_connection_cancels_its_stream(engine, url):
    engine.secs_per_token, engine.text = 0.02, "x " * 500
    body = {**RIGHT[CHAT], "stream": True}
    with (
        httpx2.Client(base_url=url) as client,
        client.stream("POST", CHAT, json=body) as response,
    ):
        next(response.iter_bytes())
    deadline = time.monotonic() + 10
    while engine.num_running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (engine.num_running, engine.num_cancelled) == (0, 1)


def test_health_says_when_the_engine_has_ended(engine, http):
    assert http.get("/health").json() == {"status": "ok"}
    assert http.get("/ready").json()["models"] == ["scripted", "pirate"]
    engine.failure = RuntimeError("The device is lost.")
    response = http.get("/health")
    assert response.status_code == 503
    assert response.json()["reason"] == "RuntimeError: The device is lost."
    assert http.get("/ready").status_code == 503
    assert http.head("/health").content == b""


def test_numbers_are_told_to_people_and_to_prometheus(engine, http):
    assert http.get("/stats").json() == {"num_running": 0.0, "num_free_pages": 7.0}
    for _ in range(2):
        http.post(COUNT, json=RIGHT[COUNT])
    deadline = time.monotonic() + 10
    while True:  # a call is over shortly after its answer was read
        response = http.get("/metrics")
        lines = dict(
            line.rsplit(" ", 1) for line in response.text.splitlines() if line[0] != "#"
        )
        num_calls = float(lines["kauldron_http_requests_in_progress"])
        if num_calls == 1 or time.monotonic() > deadline:
            break
    assert num_calls == 1  # this one
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    route = f'route="{COUNT}",status="200"'
    assert float(lines[f"kauldron_http_requests_total{{{route}}}"]) >= 2
    assert float(lines["kauldron_engine_num_free_pages"]) == 7
    assert f'kauldron_http_request_seconds_count{{route="{COUNT}"}}' in lines


def test_a_silent_stream_shows_that_it_lives(monkeypatch):
    from kauldron._base import web_calls

    monkeypatch.setattr(web_calls, "PING_SECS", 0.01)
    engine = scripted_engine.ScriptedEngine(secs_per_token=0.03)
    app = kd.serve.make_app(engine)
    _, text = _ask(app, CHAT, {**RIGHT[CHAT], "stream": True})
    assert text.startswith("data: ") and "\n\n: ping\n\ndata: " in text
    _, text = _ask(app, MESSAGES, {**RIGHT[MESSAGES], "stream": True})
    assert text.startswith("event: message_start\n")
    assert '\n\nevent: ping\ndata: {"type": "ping"}\n\n' in text


def test_many_clients_at_once_get_their_own_answers(engine, url):
    engine.secs_per_token = 0.001
    kinds = [(CHAT, {}), (CHAT, {"n": 0}), (TEXT, {"stream": True}), (MESSAGES, {})]

    async def ask(client, number):
        path, fields = kinds[number % len(kinds)]
        response = await client.post(path, json=RIGHT[path] | fields)
        return response.status_code

    async def ask_all():
        async with httpx2.AsyncClient(base_url=url, timeout=60) as client:
            return await asyncio.gather(*(ask(client, i) for i in range(32)))

    assert asyncio.run(ask_all()) == [200, 400, 200, 200] * 8
    assert (engine.num_running, engine.num_cancelled) == (0, 0)
