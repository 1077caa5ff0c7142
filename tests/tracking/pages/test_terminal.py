"""`kauldron ui`: each of its keys, what it shows, and what it does with bad news."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json

import pytest
from textual.widgets import Input, Static, TabbedContent
from textual.worker import WorkerCancelled

from kauldron import tracking
from kauldron.tracking.pages.terminal import (
    app as app_lib,
)
from kauldron.tracking.pages.terminal import (
    compare_screen,
    curve_view,
    run_screen,
    runs_screen,
    runs_table,
    runs_tree,
)
from tests.tracking.made_up_runs import MadeUpRuns, run, with_workdir
from tests.tracking.registry import made_runs


def _runs():
    return [
        run(1),
        run(2, experiment="depth"),
        run(3, project="faces", experiment="size", family="crops"),
        run(4, status="running", is_alive=True, step=120),
        run(5, status="failed", message="OutOfMemory", archived=True),
    ]


def in_app(scenario, *, source=None, size=(110, 26), **options):
    """Runs `await scenario(app, press)` in an app that is never refreshed by itself."""
    app = app_lib.RunsApp(
        source or MadeUpRuns(_runs()), **{"refresh_secs": 1e6, **options}
    )

    async def play():
        async with app.run_test(size=size) as pilot:

            async def press(*keys):
                await pilot.press(*keys)
                await settle(app, pilot)

            await settle(app, pilot)
            await scenario(app, press)

    asyncio.run(play())


async def settle(app, pilot):
    """Waits until nothing is read or drawn any more."""
    await pilot.pause()
    while any(not worker.is_finished for worker in app.workers):
        with contextlib.suppress(WorkerCancelled):  # by a newer question
            await app.workers.wait_for_complete()
        await pilot.pause()


def table(app):
    return app.screen.query_one(runs_table.RunsTable)


def ids(app):
    return [r.id for r in table(app).runs]


def text_of(widget):
    return str(widget.render())


def lines_of(widget):
    return [
        "".join(s.text for s in widget.render_line(y))
        for y in range(widget.size.height)
    ]


def test_the_first_screen_has_projects_runs_and_the_curve_of_the_first():
    async def scenario(app, press):
        assert ids(app) == ["run_0001", "run_0002", "run_0003", "run_0004"]
        head, first, *_ = lines_of(table(app))
        assert head.split()[:4] == ["id▼", "name", "status", "step"]
        assert "eval.accuracy" in head
        assert first.split()[:5] == ["run_0001", "digits_1", "✓", "done", "300/300"]
        tree = app.screen.query_one(runs_tree.RunsTree)
        assert [str(n.label) for n in tree.root.children] == ["digits 3", "faces 1"]
        family = tree.root.children[1].children[0]
        assert str(family.label) == "crops 1"
        assert str(family.children[0].label) == "size 1"
        summary = text_of(app.screen.query_one("#summary", Static))
        assert summary == "4 runs: 3 done, 1 running"
        plot = text_of(app.screen.query_one("#preview"))
        assert "run_0001 digits_1: 0.91" in plot

    in_app(scenario)


@pytest.mark.slow
def test_arrows_and_their_letters_move_the_cursor_and_the_curve_follows():
    async def scenario(app, press):
        await press("down", "j")
        assert table(app).cursor == 2
        assert "run_0003" in text_of(app.screen.query_one("#preview"))
        await press("up")
        assert table(app).cursor == 1
        await press("k", "k", "k")
        assert table(app).cursor == 0
        await press("end")
        assert table(app).cursor == 3
        await press("home")
        assert table(app).cursor == 0
        await press("G")
        assert table(app).cursor == 3
        await press("g", "pagedown")
        assert table(app).cursor == 3
        await press("pageup")
        assert table(app).cursor == 0

    in_app(scenario)


def test_space_marks_c_compares_and_escape_leaves_and_unmarks():
    async def scenario(app, press):
        await press("c")
        assert isinstance(app.screen, runs_screen.RunsScreen)  # too few are marked
        await press("space", "down", "space")
        assert table(app).marked == ["run_0001", "run_0003"]
        assert "2 marked" in text_of(app.screen.query_one("#summary", Static))
        plot = text_of(app.screen.query_one("#preview"))
        assert "run_0001" in plot
        assert "run_0003" in plot
        await press("c")
        assert isinstance(app.screen, compare_screen.CompareScreen)
        await press("escape")
        await press("home", "space")
        assert table(app).marked == ["run_0003"]
        await press("escape")
        assert table(app).marked == []

    in_app(scenario)


@pytest.mark.slow
def test_compared_runs_show_what_differs_all_values_metrics_and_scales():
    async def scenario(app, press):
        await press("space", "space", "c")
        shown = app.screen.query_one("#differences", Static)

        def rows():
            from rich.console import Console

            console = Console(width=120)
            with console.capture() as captured:
                console.print(shown.content)
            return captured.get()

        assert "aux.num_features" in rows()
        assert "seed" not in rows()
        await press("a")
        assert "seed" in rows()
        curves = app.screen.query_one(curve_view.CurveView)
        assert curves.metric == "eval.accuracy"
        await press("m")
        assert curves.metric == "eval.xentropy"
        await press("M", "l")
        assert (curves.metric, curves.log_scale) == ("eval.accuracy", True)
        assert "eval.accuracy" in text_of(curves)
        await press("q")
        assert isinstance(app.screen, runs_screen.RunsScreen)

    in_app(scenario)


def test_enter_opens_a_run_and_numbers_and_arrows_choose_what_is_shown(tmp_path):
    made = with_workdir(run(1), tmp_path)
    lines = [{"step": 10, "collection": "eval", "metrics/accuracy": 0.5}]
    (tmp_path / made.name / "metrics.jsonl").write_text(json.dumps(lines[0]) + "\n")

    async def scenario(app, press):
        await press("enter")
        assert isinstance(app.screen, run_screen.RunScreen)
        assert "run_0001 digits_1   ✓ done" in text_of(app.screen.query_one("#title"))
        tabs = app.screen.query_one(TabbedContent)
        for key, name in zip(
            "2341", ("parameters", "metrics", "log", "curves"), strict=True
        ):
            await press(key)
            assert tabs.active == name
        await press("right")
        assert tabs.active == "parameters"
        await press("left", "left")
        assert tabs.active == "log"
        log = text_of(app.screen.query_one("#log-text", Static))
        assert "step 10  [eval]  accuracy 0.5" in log
        curves = app.screen.query_one(curve_view.CurveView)
        await press("m", "l")
        assert (curves.metric, curves.log_scale) == ("eval.xentropy", True)
        await press("M")
        assert curves.metric == "eval.accuracy"
        app.screen._source.kept[0] = dataclasses.replace(made, step=301, num_steps=400)
        await press("r")
        assert "step 301 of 400" in text_of(app.screen.query_one("#title"))
        await press("q")
        assert isinstance(app.screen, runs_screen.RunsScreen)

    in_app(scenario, source=MadeUpRuns([made]))


@pytest.mark.slow
def test_the_tree_chooses_which_runs_are_shown():
    async def scenario(app, press):
        await press("shift+tab", "down")
        assert ids(app) == ["run_0001", "run_0002", "run_0004"]  # digits
        await press("down")
        assert ids(app) == ["run_0002"]  # digits / depth
        await press("tab", "enter")
        assert isinstance(app.screen, run_screen.RunScreen)

    in_app(scenario)


def test_slash_filters_and_a_mistake_in_it_is_told_and_changes_nothing():
    async def scenario(app, press):
        await press("slash")
        assert app.screen.query_one("#filter", Input).has_focus
        await press(*"s_2", "enter")
        assert ids(app) == ["run_0002"]
        assert "where s_2" in text_of(app.screen.query_one("#summary", Static))
        await press("escape")
        assert len(ids(app)) == 4
        await press("slash", *"broken", "enter")
        problem = app.screen.query_one("#problem", Static)
        assert problem.display
        assert "at position 1" in text_of(problem)
        assert len(ids(app)) == 4
        await press("slash", "escape")
        assert table(app).has_focus

    in_app(scenario)


def test_a_registry_filters_sorts_and_draws(tmp_path):
    for i in (1, 2, 3):
        curve = [0.1, 0.5, 0.6 + i / 10]
        made_runs.make(tmp_path / "runs" / f"a{i}", curve=curve, started=1.8e9 + i)
    tracking.Workspace.create(tmp_path)
    registry = tracking.Registry.open(tmp_path)
    registry.index(tmp_path / "runs")

    async def scenario(app, press):
        assert ids(app) == ["run_0003", "run_0002", "run_0001"]  # the newest first
        assert "run_0003 a3: 0.9" in text_of(app.screen.query_one("#preview"))
        await press("slash")
        app.screen.query_one("#filter", Input).value = "eval.accuracy < 0.85"
        await press("enter", "S")
        assert ids(app) == ["run_0001", "run_0002"]
        await press("slash")
        app.screen.query_one("#filter", Input).value = "eval.acuracy < 0.85"
        await press("enter")
        problem = text_of(app.screen.query_one("#problem", Static))
        assert "eval.accuracy" in problem

    in_app(scenario, source=registry)
    registry.close()


def test_s_sorts_by_the_next_column_capital_s_the_other_way_round():
    asked = []

    class Listening(MadeUpRuns):
        def runs(self, where=None, sort=None, **kwargs):
            asked.append(sort)
            return super().runs(where, sort, **kwargs)

    async def scenario(app, press):
        await press("s", "S", "s")
        assert asked == ["-id", "-name", "name", "-status"]
        assert "status▼" in lines_of(table(app))[0]

    in_app(scenario, source=Listening(_runs()))


def test_keys_of_the_first_screen_for_metric_scale_curves_archived_theme_and_help():
    async def scenario(app, press):
        preview = app.screen.query_one("#preview", curve_view.CurveView)
        await press("m", "l")
        assert (preview.metric, preview.log_scale) == ("eval.xentropy", True)
        await press("M")
        assert preview.metric == "eval.accuracy"
        await press("p")
        assert preview.has_class("hidden")
        await press("p")
        assert not preview.has_class("hidden")
        await press("a")
        assert "run_0005" in ids(app)
        await press("a")
        assert "run_0005" not in ids(app)
        await press("t")
        assert not app.current_theme.dark
        await press("t")
        assert app.current_theme.dark
        await press("question_mark")
        assert app.screen.query("HelpPanel")
        await press("question_mark")
        assert not app.screen.query("HelpPanel")
        await press("q")
        assert not app.is_running

    in_app(scenario)


def test_runs_that_train_move_on_without_a_key():
    source = MadeUpRuns(_runs())

    async def scenario(app, press):
        assert any("120/300" in line for line in lines_of(table(app)))
        table(app).cursor = 2
        source.kept[3] = dataclasses.replace(source.kept[3], step=250)
        source.kept.insert(0, run(9))
        for _ in range(200):
            await asyncio.sleep(0.01)
            if any("250/300" in line for line in lines_of(table(app))):
                break
        assert any("250/300" in line for line in lines_of(table(app)))
        assert table(app).current.id == "run_0003"  # the cursor stays on its run

    in_app(scenario, source=source, refresh_secs=0.05)


def test_a_registry_that_fails_is_told_and_the_runs_stay():
    source = MadeUpRuns(_runs())

    async def scenario(app, press):
        source.runs = lambda *args, **kwargs: source.run("gone")
        await press("r")
        problem = text_of(app.screen.query_one("#problem", Static))
        assert "no run 'gone'" in problem
        assert len(ids(app)) == 4

    in_app(scenario, source=source)


def test_names_are_text_and_never_markup():
    odd = run(1, name="[/red] [b]\x1b[31m", message="[/x]", parameters={"[a]": "[/b]"})

    async def scenario(app, press):
        assert "[/red] [b]" in lines_of(table(app))[1]
        await press("enter", "2", "4", "escape", "slash")
        app.screen.query_one("#filter", Input).value = "[/x]"
        await press("enter")
        assert "[/x]" in text_of(app.screen.query_one("#summary", Static))

    in_app(scenario, source=MadeUpRuns([odd]))


@pytest.mark.slow
def test_no_runs_say_how_to_find_some():
    async def scenario(app, press):
        summary = text_of(app.screen.query_one("#summary", Static))
        assert "kauldron runs index FOLDER" in summary
        await press("enter", "space", "c", "m", "s")

    in_app(scenario, source=MadeUpRuns([]))


@pytest.mark.slow
@pytest.mark.parametrize("width", [40, 80, 200])
def test_narrow_screens_show_fewer_columns(width):
    async def scenario(app, press):
        lines = lines_of(table(app))
        assert all(len(line) == table(app).size.width for line in lines)
        assert ("eval.xentropy" in lines[0]) == (width == 200)

    in_app(scenario, size=(width, 24))


@pytest.mark.slow
def test_clicks_choose_open_and_sort():
    async def scenario(app, press):
        from textual.pilot import Pilot

        pilot = Pilot(app)
        await pilot.click(runs_table.RunsTable, offset=(20, 3))
        assert table(app).cursor == 2
        await pilot.click(runs_table.RunsTable, offset=(18, 0))
        await settle(app, pilot)
        assert "name▼" in lines_of(table(app))[0]
        await pilot.click(runs_table.RunsTable, offset=(18, 0))
        await settle(app, pilot)
        assert "name▲" in lines_of(table(app))[0]
        await pilot.click(runs_table.RunsTable, offset=(20, 1), times=2)
        await settle(app, pilot)
        assert isinstance(app.screen, run_screen.RunScreen)

    in_app(scenario)
