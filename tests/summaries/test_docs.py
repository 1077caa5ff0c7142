"""Every Python block of the page on losses, metrics and summaries runs."""

import pathlib
import re

import pytest


def test_python_blocks_run():
    pytest.importorskip("matplotlib")
    path = pathlib.Path(__file__).parents[2] / "docs" / "metrics.md"
    text = path.read_text("utf-8")
    namespace: dict = {"__name__": "__docs__"}
    for block in re.finditer(r"```python\n(.*?)```", text, re.S):
        line = text[: block.start()].count("\n") + 1
        exec(compile("\n" * line + block[1], str(path), "exec"), namespace)


def test_every_public_member_is_named():
    from kauldron import losses, metrics, summaries

    path = pathlib.Path(__file__).parents[2] / "docs" / "metrics.md"
    text = path.read_text("utf-8")
    for package in (losses, metrics, summaries):
        members = [n for n in package.__all__ if n[0].isupper()]
        bases = {"State", "EmptyState", "TreeState", "MomentsState", "NoopMetric"}
        bases |= {"CollectFirstState", "CollectingState"}
        absent = [n for n in members if not re.search(rf"\b{n}\b", text)]
        assert set(absent) <= bases, package.__name__
