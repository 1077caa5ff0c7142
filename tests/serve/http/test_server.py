"""Ports, the end of a server, and its page in a browser."""

from __future__ import annotations

import html
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import httpx2
import pytest
from starlette.responses import HTMLResponse
from starlette.routing import Route

from kauldron import kd
from tests.serve.http import scripted_engine

_ROOT = pathlib.Path(__file__).parents[3]
CHAT = "/v1/chat/completions"
ASK = {"model": "scripted", "messages": [{"role": "user", "content": "Hi!"}]}


def test_a_port_that_is_taken_is_told():
    with kd.serve.open_port(port=0) as listening:
        listening.listen()
        port = listening.getsockname()[1]
        with pytest.raises(kd.serve.PortError, match=f"Port {port} .* cannot be had"):
            kd.serve.open_port(port=port)


def test_an_address_that_does_not_exist_is_told():
    with pytest.raises(kd.serve.PortError, match=r"no address 'nowhere\.invalid'"):
        kd.serve.open_port("nowhere.invalid", 0)
    with pytest.raises(kd.serve.PortError, match="from 0 to 65535: got 70000"):
        kd.serve.open_port(port=70_000)


def test_sigterm_lets_streams_finish_and_takes_no_more_calls():
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.serve.http.slow_server"],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with (
            httpx2.Client(base_url=address, timeout=30) as client,
            client.stream("POST", CHAT, json={**ASK, "stream": True}) as response,
        ):
            pieces = response.iter_text()
            text = next(pieces)
            process.send_signal(signal.SIGTERM)
            text += "".join(pieces)
        assert "".join(re.findall('"content":"([^"]*)"', text)) == "a b c d e f g h i j"
        assert text.endswith("data: [DONE]\n\n")
        assert process.wait(30) == 0
        assert process.stdout.read() == "ended 0 0\n"
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(address)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_page_asks_nobody_else_and_runs_in_no_foreign_frame(url, engine):
    response = httpx2.get(url)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "http://" not in response.text and "https://" not in response.text
    assert (
        "<script src" not in response.text
        and '<link rel="stylesheet' not in response.text
    )


_CHROMIUM = shutil.which("chromium")
_CHAT_SCRIPT = """<!doctype html><meta charset="utf-8"><iframe src="/"></iframe><pre id="seen"></pre>
<script>
const frame = document.querySelector("iframe");
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
frame.onload = async () => {
  const page = frame.contentDocument, at = (id) => page.getElementById(id);
  const seen = [];
  const ask = async (text) => {
    at("prompt").value = text;
    at("send").click();
    await wait(10);
  };
  const end = async () => { while (at("send").hidden) await wait(10); };
  const last = (kind) => [...page.querySelectorAll(kind)].at(-1)?.textContent;
  while (!at("model").value) await wait(10);
  await ask("Hi!"); await end();
  seen.push(last(".assistant"), last(".note"));
  at("system").value = "Be kind.";
  await ask("slow");
  while (!(last(".assistant") ?? "").startsWith("slow")) await wait(10);
  at("stop").click(); await end();
  seen.push(last(".note"), last(".assistant").length < 400);
  await ask("refuse"); await end();
  seen.push(last(".error"), at("prompt").value, page.querySelectorAll(".user").length);
  await ask("break"); await end();
  seen.push(last(".error"));
  at("new").click();
  seen.push(page.querySelectorAll(".message").length);
  document.getElementById("seen").textContent = JSON.stringify(seen);
};
</script>"""


class _EngineByQuestion(scripted_engine.ScriptedEngine):
    """Behaves as the last question says."""

    async def astream(self, request):
        question = self.tokenizer.decode(request.prompt).rstrip().split("\n")[-2]
        self.text = (
            f"{question} " * 100 if question == "slow" else f"To {question}: <b>no</b>"
        )
        self.secs_per_token = 0.02 if question == "slow" else 0.0
        self.fails_after = 5 if question == "break" else None
        self.refusal = (
            kd.serve.RequestError("Ask better.") if question == "refuse" else None
        )
        async for piece in super().astream(request):
            yield piece


@pytest.mark.slow
@pytest.mark.skipif(_CHROMIUM is None, reason="needs the browser chromium")
def test_a_person_chats_in_a_browser(tmp_path):
    engine = _EngineByQuestion()
    app = kd.serve.make_app(engine)
    page = HTMLResponse(_CHAT_SCRIPT)
    app.router.routes.append(Route("/test", lambda request: page))
    with kd.serve.background_server(app) as url:
        command = [
            *(_CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *(
                f"--user-data-dir={tmp_path}",
                "--virtual-time-budget=3600000",
                f"{url}/test",
            ),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    (seen,) = re.findall('<pre id="seen">(.*)</pre>', done.stdout)
    assert html.unescape(seen) == (
        '["To Hi!: <b>no</b>","18 tokens","stopped",true,"Ask better.","refuse",3,'
        '"The engine failed while it answered.",0]'
    )
    assert "system\nBe kind." in engine.last_prompt
    assert engine.num_running == 0
    assert engine.num_cancelled >= 1  # the one that was stopped
