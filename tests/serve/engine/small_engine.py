"""Engines of the small model, all on the same compiled programs."""

from __future__ import annotations

import contextlib
import functools

from kauldron import kd
from kauldron.serve.device import _programs
from kauldron.serve.engine import _core
from tests.lm import small_model

CONTEXT_LENGTH = 60


@functools.cache
def programs():
    """Returns programs of four slots, compiled once for all tests."""
    model = small_model.model()
    made = _programs.Programs(
        *(model, small_model.params(model)),
        num_pages=100,
        page_size=4,
        num_slots=4,
        max_pages_per_row=CONTEXT_LENGTH // 4,
        decode_widths=(),
        prefill_rows=3,
        chunk_sizes=(4,),
        max_steps=4,
        max_top_logprobs=5,
    )
    made.warm_up(("prefill", "decode", "verify", "score", "embed"))
    return made


class Changed:
    """The programs of the tests with some things done otherwise."""

    def __init__(self, **changes):
        self.__dict__.update(changes)

    def __getattr__(self, name):
        return getattr(programs(), name)


def options(**changes):
    """Returns what an engine keeps to."""
    tokenizer = small_model.tokenizer()
    defaults = {"context_length": CONTEXT_LENGTH, "stop_ids": tokenizer.stop_ids}
    return _core.Options(**(defaults | changes))


@contextlib.contextmanager
def engine(changed=None, tokenizer=None, **changes):
    """Yields an engine that no other uses; at the end, all its pages are free."""
    made = kd.serve.Engine.from_programs(
        changed or programs(),
        tokenizer or small_model.tokenizer(),
        options(**changes),
    )
    try:
        yield made
    finally:
        assert made.shutdown(drain=False, timeout=60)
        stats = made.stats()
        assert stats["pages_free"] == stats["pages"]
        assert (stats["running"], stats["waiting"]) == (0, 0)


def generator():
    """Returns the same model, to generate with alone."""
    model = small_model.model()
    return kd.lm.TextGenerator(
        model=model,
        params=small_model.params(model),
        tokenizer=small_model.tokenizer(),
    )
