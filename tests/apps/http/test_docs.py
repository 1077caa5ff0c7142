"""The page on servers of apps: its Python runs, its routes and limits are those there are."""

from __future__ import annotations

import dataclasses
import re

from kauldron import kd
from kauldron.apps.http import _app
from kauldron.cli import command_table
from tests import docs_snippets

_PAGE = docs_snippets.DOCS / "app_server.md"


def test_blocks_of_the_page_run(tmp_path):
    assert docs_snippets.run_page("app_server.md", tmp_path) == 1


def test_the_page_names_every_route_and_no_other():
    told = set(re.findall(r"`(GET|POST|DELETE) (/[^`?]*)", _PAGE.read_text("utf-8")))
    there = {("GET", "/")}
    for path, methods in _app._ROUTES.items():
        shown = path.replace("{app}", "APP").replace("{verb}", "VERB")
        shown = shown.replace("{job}", "ID").replace("{name:path}", "NAME")
        there |= {(method, shown) for method in methods}
    assert told == there


def test_the_page_names_every_limit_and_flags_that_there_are():
    text = _PAGE.read_text("utf-8")
    for field in dataclasses.fields(kd.apps.Limits):
        if field.name not in ("max_field_bytes", "keep_secs"):
            assert f"`{field.name}`" in text
    commands = [command_table.COMMANDS[f"apps {x}"] for x in ("serve", "infer")]
    flags = {flag.name for command in commands for flag in command.flags}
    for name in re.findall(r"`--(\w+)", text):
        assert name in flags | {"host"}
