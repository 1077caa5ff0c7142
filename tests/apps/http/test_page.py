"""The page: asks nobody else, and a person gets a result with it in a browser."""

from __future__ import annotations

import asyncio
import csv
import html
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from kauldron._base import web_server
from tests.apps.jobs import plain_server

_CHROMIUM = shutil.which("chromium")
_SCRIPT = """<!doctype html><meta charset="utf-8"><iframe src="/" width="900" height="900"></iframe>
<pre id="seen"></pre>
<script>
const frame = document.querySelector("iframe");
// The browser's time stands still while something is fetched, and is not used up by waiting.
const wait = () => fetch("/wait");
frame.onload = async () => {
  const page = frame.contentDocument, at = (id) => page.getElementById(id);
  const seen = [];
  const until = async (condition) => { while (!condition()) await wait(); return condition(); };
  const give = (name, bytes) => {
    const files = new frame.contentWindow.DataTransfer();
    files.items.add(new frame.contentWindow.File([bytes], name));
    page.querySelector('[data-field="inputs.t1"]').files = files.files;
    at("run").click();
  };
  const first = (what) => page.querySelector(what);
  const bytes = Uint8Array.from(atob("VOLUME"), (c) => c.charCodeAt(0));
  await until(() => at("app").value);
  seen.push(at("app").value, at("about").textContent, at("verb").value);
  page.querySelector('[data-option="tta"]').value = "2";
  give("scan.npy", bytes);
  const canvas = await until(() => first(".done canvas"));
  const pixel = (x, y) => [...canvas.getContext("2d").getImageData(x, y, 1, 1).data];
  const slider = first('[type="range"]');
  seen.push(canvas.width, canvas.height, Number(slider.max), pixel(0, 0), pixel(2, 1));
  slider.value = "1";
  slider.dispatchEvent(new Event("input"));
  seen.push(pixel(2, 1), first(".labels").textContent, first("table").textContent);
  const direction = first(".pictures select");
  direction.value = "2";
  direction.dispatchEvent(new Event("change"));
  seen.push([canvas.width, canvas.height]);
  give("photo.png", bytes);
  await until(() => !at("problem").hidden);
  seen.push(at("problem").textContent);
  give("scan.nii.gz", '{"sleep": 60, "print": ["one moment"]}');
  await until(() => first(".running .said")?.textContent === "one moment");
  first(".running button").click();
  await until(() => first(".cancelled"));
  seen.push(page.querySelectorAll(".job").length);
  give("scan.nii.gz", '{"error": "<b>no</b> volume", "code": 2}');
  seen.push((await until(() => first(".failed .error"))).textContent);
  give("scan.nii.gz", JSON.stringify({table: TABLE}));
  const rows = await until(() => first(".rows"));
  seen.push([...rows.querySelectorAll("tr")].map((row) => [...row.children].map((cell) => cell.textContent)));
  seen.push([...rows.querySelectorAll(".number")].length, rows.querySelector("i, b") === null);
  document.getElementById("seen").textContent = JSON.stringify(seen);
};
</script>"""


def _volume():
    """Slices of 2 x 3 pixels; label 1 is grey (#777777), 2 has the second colour."""
    volume = np.zeros((4, 2, 3), np.uint8)
    volume[2, 1, 2], volume[1, 1, 2] = 1, 2
    file = io.BytesIO()
    np.save(file, volume)
    return file.getvalue()


def _table():
    """As `csv` writes it: commas, quotes and lines in cells; tags are text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "label", "score"])
    writer.writerow(["a", 'x, "y"', 0.123456789])
    writer.writerow(["<i>b</i>", "two\nlines", 1])
    return text.getvalue()


def _with_test_page(app, text):
    async def whole(scope, receive, send):
        if scope["type"] != "http" or scope["path"] not in ("/test", "/wait"):
            await app(scope, receive, send)
            return
        if scope["path"] == "/wait":
            await asyncio.sleep(0.02)
        head = {"type": "http.response.start", "status": 200}
        await send({**head, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": text.encode()})

    return whole


def test_the_page_asks_nobody_else_and_runs_in_no_foreign_frame(http):
    response = http.get("/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "http://" not in response.text and "https://" not in response.text
    assert "<script src" not in response.text and '<link rel="s' not in response.text
    assert "innerHTML" not in response.text  # names of files are text


@pytest.mark.slow
@pytest.mark.skipif(_CHROMIUM is None, reason="needs the browser chromium")
def test_a_person_gets_a_result_in_a_browser(tmp_path, app_path):
    import base64

    script = _SCRIPT.replace("VOLUME", base64.b64encode(_volume()).decode())
    script = script.replace("TABLE", json.dumps(_table()))
    with (
        plain_server.application(tmp_path / "state", [app_path]) as app,
        web_server.background_server(
            _with_test_page(app, script), on_end=app.drain
        ) as url,
    ):
        command = [
            *(_CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *(f"--user-data-dir={tmp_path}/user", "--virtual-time-budget=3600000"),
            f"{url}/test",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    (seen,) = re.findall('<pre id="seen">(.*)</pre>', done.stdout)
    seen = json.loads(html.unescape(seen))
    assert seen.pop(12).startswith("'t1' is of the kind 'volume', files such as")
    assert seen == [
        *("tissues", "Tissues of the brain. · 1.0.0", "infer"),
        *(3, 2, 3, [0, 0, 0, 255], [0x77, 0x77, 0x77, 255]),
        *([0x3C, 0xB4, 0x4B, 255], "greywhite", "overall / dice0.50000"),
        *([2, 4], 2, "<b>no</b> volume"),
        [
            ["case", "label", "score"],
            ["a", 'x, "y"', "0.12346"],
            ["<i>b</i>", "two\nlines", "1"],
        ],
        *(3, True),
    ]
