"""What is measured of an engine is what its clients see."""

from __future__ import annotations

import json
import time

import pytest

from kauldron import kd
from tests.lm import small_model
from tests.serve.engine import small_engine


class _Slow(small_engine.Changed):
    """Each visit takes 10 ms at least, each prompt that is read 30."""

    def prefill(self, batch):
        time.sleep(0.03)
        return small_engine.programs().prefill(batch)

    def decode(self, *args):
        time.sleep(0.01)
        return small_engine.programs().decode(*args)


def test_times_of_first_and_further_tokens_are_told_for_each_number_of_streams():
    with small_engine.engine(_Slow(), steps_per_visit=1) as engine:
        report = kd.serve.measure_speed(
            engine, streams=(1, 4), prompt_tokens=16, max_tokens=6
        )
    one, four = report.rows
    assert (one.streams, one.requests, four.streams, four.requests) == (1, 2, 4, 8)
    for row in report.rows:
        assert row.first_token_secs >= 0.04
        assert row.first_token_secs_95 >= row.first_token_secs
        assert row.between_tokens_secs >= 0.01
        # An answer of 6 tokens has one of the first kind, five of the second.
        secs = row.first_token_secs + 5 * row.between_tokens_secs
        assert row.tokens_per_sec < 3 * row.streams * 6 / secs
    assert report.prefix_tokens == small_engine.CONTEXT_LENGTH - 10
    assert report.first_token_secs_seen < report.first_token_secs_cold
    assert str(report).splitlines()[1].split()[:2] == ["streams", "first"]


@pytest.mark.slow
def test_the_command_prints_json(tmp_path, capsys):
    from kauldron.cli import main

    folder = small_model.save(tmp_path / "model")
    words = ["kauldron", "bench", "serve", f"--model={folder}", "--streams=1,2"]
    words += ["--max_tokens=3", "--prompt_tokens=8", "--context_length=64", "--json"]
    assert main.main(words) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["streams"] for row in found["rows"]] == [1, 2]
