"""`kauldron ui --web`: what the server answers, and what a browser shows of it."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import http.client
import json
import re
import shutil
import socket
import subprocess
import threading
import urllib.parse

import pytest

from kauldron.tracking.pages.web import server as server_lib
from kauldron.tracking.registry import records
from tests.tracking.made_up_runs import MadeUpRuns, metric, run, with_workdir

_CHROMIUM = shutil.which("chromium")


@contextlib.contextmanager
def serving(source):
    with server_lib.PageServer(source) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, path, *, method="GET", headers=None, **query):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    with contextlib.closing(connection):
        target = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        connection.request(method, target, headers=headers or {})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    made = with_workdir(run(1), tmp_path_factory.mktemp("runs"))
    nan = {"eval.accuracy": metric(float("nan")), "eval.b": metric(float("inf"))}
    runs = [
        made,
        run(2, experiment="depth"),
        run(3, project="faces", metrics=nan),
        run(4, archived=True),
    ]
    with serving(MadeUpRuns(runs)) as server:
        yield server


def answer(server, path, **query):
    status, _, content = ask(server, f"/api/{path}", **query)
    assert status == 200, content
    return json.loads(content, parse_constant=pytest.fail)


def test_runs_come_with_their_groups_and_main_metrics(served):
    told = answer(served, "runs")
    assert [r["id"] for r in told["runs"]] == ["run_0001", "run_0002", "run_0003"]
    assert told["groups"] == [
        ["digits", "", "depth", 1],
        ["digits", "", "width", 1],
        ["faces", "", "width", 1],
    ]
    values = dict(zip(told["metrics"], told["runs"][0]["values"], strict=True))
    assert values["eval.accuracy"] == 0.91
    accuracy = told["metrics"].index("eval.accuracy")
    assert told["runs"][2]["values"][accuracy] == "nan"  # JSON has no NaN


def test_runs_are_filtered_scoped_and_limited(served):
    def found(**query):
        return [r["id"] for r in answer(served, "runs", **query)["runs"]]

    assert found(where="digits_2") == ["run_0002"]
    assert found(project="faces") == ["run_0003"]
    assert found(project="digits", experiment="width") == ["run_0001"]
    assert "run_0004" in found(archived="1")
    assert found(limit="1") == ["run_0001"]
    assert answer(served, "runs", limit="1")["total"] == 3


def test_a_run_its_curve_its_log_and_a_comparison(served):
    told = answer(served, "run", run="1")
    assert told["parameters"]["aux.num_features"] == 8
    assert told["metrics"]["eval.accuracy"]["best"] == 0.91
    curve = answer(served, "curve", run="run_0001", metric="eval.accuracy")
    assert len(curve["steps"]) == len(curve["values"]) == 31
    assert answer(served, "log", run="run_0001")["text"].startswith("No log")
    compared = answer(served, "compare", runs="run_0001,run_0002")
    by_name = {d["name"]: d for d in compared["differences"]}
    assert by_name["eval.accuracy"]["best"] == ["run_0002"]
    assert "seed" not in by_name
    everything = answer(served, "compare", runs="run_0001,run_0002", all="1")
    assert "seed" in {d["name"] for d in everything["differences"]}


@pytest.mark.parametrize(
    ("path", "query", "status", "problem"),
    [
        ("/api/runs", {"where": "broken"}, 400, "at position 1"),
        ("/api/runs", {"limit": "many"}, 400, "many"),
        ("/api/run", {"run": "run_0009"}, 400, "Did you mean 'run_0001'"),
        ("/api/run", {}, 400, "Say `run=`"),
        ("/api/curve", {"run": "1", "metric": "acuracy"}, 400, "Did you mean"),
        ("/api/nothing", {}, 404, "nothing at /api/nothing"),
        ("/../../etc/passwd", {}, 404, "nothing at"),
    ],
)
def test_mistakes_are_told_in_words(served, path, query, status, problem):
    told = ask(served, path, **query)
    assert told[0] == status
    assert problem in json.loads(told[2])["problem"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_the_page_only_reads(served, method):
    assert ask(served, "/api/runs", method=method)[0] == 501


def test_it_answers_to_this_machine_alone(served):
    assert served.server_address[0] == "127.0.0.1"
    assert ask(served, "/api/runs", headers={"Host": "evil.example:80"})[0] == 403
    assert (
        ask(served, "/", headers={"Host": f"localhost:{served.server_port}"})[0] == 200
    )


def test_the_page_loads_nothing_from_elsewhere(served):
    status, headers, content = ask(served, "/")
    page = content.decode()
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    assert "innerHTML" not in page
    assert not re.search(r"@import|url\(", page)


def test_what_has_not_changed_is_not_sent_again(served):
    _, headers, _ = ask(served, "/api/runs")
    status, _, content = ask(
        served, "/api/runs", headers={"If-None-Match": headers["ETag"]}
    )
    assert (status, content) == (304, b"")


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(server_lib.ServerError, match=f"Port {port} cannot be used"):
            server_lib.PageServer(MadeUpRuns([]), port=port)


# A page around the page: it presses what a person would press, in a frame as wide as a
# telephone, and tells what is to be seen.
_SCRIPT = """<!doctype html><meta charset="utf-8">
<iframe id="frame" src="/" style="width:WIDTHpx;height:844px;border:0"></iframe>
<pre id="seen"></pre>
<script>
const frame = document.querySelector("iframe"), seen = {};
const wait = ms => new Promise(resolve => setTimeout(resolve, ms));
frame.onload = async () => {
  const view = frame.contentWindow, page = frame.contentDocument;
  const all = query => [...page.querySelectorAll(query)];
  const until = async test => { for (let i = 0; i < 400 && !test(); i++) await wait(25); };
  const button = text => all("button").find(b => b.textContent.trim().startsWith(text));
  await until(() => all("tbody tr").length);
  seen.rows = all("tbody tr").map(r => r.cells[1].textContent);
  seen.name = all("td.name")[0].textContent;
  seen.tree = all("nav button").map(b => b.textContent);
  seen.fits = page.documentElement.scrollWidth <= view.innerWidth;
  seen.background = view.getComputedStyle(page.body).backgroundColor;
  seen.step = view.getComputedStyle(all("tbody tr td")[4]).display;
  all("tbody input")[0].click(); await until(() => button("Compare 1"));
  all("tbody input")[1].click(); await until(() => button("Compare 2"));
  button("Compare 2").click(); await until(() => all("svg path").length == 2);
  seen.compared = all("tbody tr").map(r => r.cells[1].textContent);
  seen.lines = all("svg path").length;
  seen.comparedFits = page.documentElement.scrollWidth <= view.innerWidth;
  view.location.hash = "#/run/run_0001"; await until(() => all("svg path").length == 1);
  all("select")[0].value = "eval.xentropy";
  all("select")[0].dispatchEvent(new view.Event("change"));
  await until(() => all("svg")[0].getAttribute("aria-label") && all("select")[0].value == "eval.xentropy");
  button("parameters").click(); await until(() => page.body.textContent.includes("aux.num_features"));
  seen.parameter = all("tbody tr")[0].textContent;
  button("log").click(); await until(() => all("pre").length);
  seen.log = all("pre")[0].textContent.slice(0, 6);
  page.getElementById("where").value = "broken";
  page.getElementById("where").dispatchEvent(new view.Event("change"));
  await until(() => page.getElementById("problem").textContent);
  seen.problem = page.getElementById("problem").textContent;
  seen.below = all("#main > *").length;
  seen.font = view.getComputedStyle(page.getElementById("problem")).fontFamily;
  page.getElementById("where").value = "";
  page.getElementById("where").dispatchEvent(new view.Event("change"));
  await until(() => !page.getElementById("problem").textContent && all("tbody tr").length);
  await fetch("/api/move"); await until(() => page.body.textContent.includes("250/300"));
  seen.moved = page.body.textContent.includes("250/300");
  document.getElementById("seen").textContent = JSON.stringify(seen);
};
</script>"""


class _Moving(MadeUpRuns):
    """Its running run goes on once the page was there."""

    def move(self, query):
        self.kept[1] = dataclasses.replace(self.kept[1], step=250)
        return {}


@pytest.mark.slow
@pytest.mark.skipif(_CHROMIUM is None, reason="needs the browser chromium")
@pytest.mark.parametrize(("width", "is_dark"), [(390, False), (1200, True)])
def test_a_person_looks_at_runs_in_a_browser(tmp_path, width, is_dark):
    evil = "<img src=x onerror=alert(1)>"
    running: dict = {"status": "running", "is_alive": True, "step": 120}
    source = _Moving([run(1, name=evil), run(2, **running)])
    with serving(source) as server:
        server.pages["/test"] = _SCRIPT.replace("WIDTH", str(width)).encode()
        server.answers._known = {**server.answers._known, "/api/move": source.move}
        done = subprocess.run(
            [
                *(_CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"),
                *("--dump-dom", "--window-size=1300,900"),
                f"--blink-settings=preferredColorScheme={0 if is_dark else 1}",
                f"--user-data-dir={tmp_path}",
                "--virtual-time-budget=3600000",
                f"{server.url}test",
            ],
            capture_output=True,
            text=True,
            timeout=250,
        )
    [text] = re.findall(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    seen = json.loads(html.unescape(text))
    assert seen["rows"] == ["run_0001", "run_0002"]
    assert seen["name"] == evil
    assert seen["tree"] == ["All runs2", "digits2", "width2"]
    assert seen["background"] == (
        "rgb(15, 20, 25)" if is_dark else "rgb(255, 255, 255)"
    )
    assert seen["step"] == ("none" if width < 760 else "table-cell")
    assert seen["fits"]
    assert seen["comparedFits"]
    assert seen["compared"][:2] == ["status", "step"]
    assert seen["lines"] == 2
    assert seen["parameter"] == "aux.num_features8"
    assert seen["log"] == "No log"
    assert "at position 1" in seen["problem"]
    assert (seen["below"], "monospace" in seen["font"]) == (0, True)
    assert seen["moved"]


def test_a_curve_of_many_points_is_thinned_for_the_page():
    class Long(MadeUpRuns):
        def curve(self, run, metric):
            steps = tuple(range(100_000))
            return records.Curve(steps=steps, values=tuple(map(float, steps)))

    with serving(Long([run(1)])) as server:
        curve = answer(server, "curve", run="1", metric="eval.accuracy")
    assert len(curve["steps"]) <= 602
    assert curve["steps"][-1] == 99_999
