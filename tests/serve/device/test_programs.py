"""What the compiled programs make is what `kd.lm.generate` makes of each row alone."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kauldron import kd
from kauldron.serve.device import _programs
from tests.lm import small_model
from tests.serve.device import plain_host

MODEL = small_model.model()
PROMPTS = [[5, 9, 200], [17], list(range(40, 51)), list(range(60, 79)), [3, 1, 4, 1]]
MAX_TOKENS = 9


@pytest.fixture(scope="module")
def params():
    return small_model.params(MODEL)


@pytest.fixture(scope="module")
def programs(params):
    made = _programs.Programs(
        *(MODEL, params),
        num_pages=200,
        page_size=4,
        num_slots=16,
        decode_widths=(1,),
        max_pages_per_row=8,
        prefill_rows=3,
        chunk_sizes=(4, 8),
        max_steps=4,
    )
    made.warm_up()
    return made


@pytest.fixture
def host(programs):
    return plain_host.Host(programs)


@pytest.fixture(scope="module")
def expected(params):
    found = kd.lm.generate(MODEL, params, PROMPTS, max_tokens=MAX_TOKENS)
    return [(row.tokens.tolist(), row.logprobs) for row in found]


def _check(answers, expected):
    for answer, (tokens, logprobs) in zip(answers, expected, strict=True):
        assert answer.tokens == tokens
        np.testing.assert_allclose(answer.logprobs, logprobs, atol=1e-4)


def test_a_row_alone_makes_the_tokens_of_generate(host, expected):
    for prompt, row in zip(PROMPTS, expected, strict=True):
        answer = plain_host.Answer(prompt)
        host.finish(answer)
        _check([answer], [row])


@pytest.mark.parametrize(("chunk_size", "num_steps"), [(4, 4), (8, 1)])
def test_sixteen_rows_make_the_tokens_that_each_makes_alone(
    host, expected, chunk_size, num_steps
):
    answers = [plain_host.Answer(PROMPTS[i % 5]) for i in range(16)]
    host.finish(*answers, chunk_size=chunk_size, num_steps=num_steps)
    _check(answers, [expected[i % 5] for i in range(16)])


def test_rows_that_share_pages_of_a_prompt_make_the_tokens_of_each_alone(
    host, expected
):
    first, second = plain_host.Answer(PROMPTS[3]), plain_host.Answer(PROMPTS[3])
    host.prefill(first, chunk_size=8)
    # The whole pages of the prompt are shared, the last one is copied.
    own = list(range(100, 104))
    host.programs.copy_pages([first.pages[4]], [own[0]])
    second.pages = [*first.pages[:4], *own]
    second.num_read = first.num_read
    for num_steps in (3, 1, 4, 1):
        host.decode([second, first], num_steps)
    _check([first, second], [expected[3], expected[3]])


def test_a_row_whose_pages_were_lost_goes_on_with_the_same_tokens(host, expected):
    answer = plain_host.Answer(PROMPTS[2])
    host.prefill(answer, chunk_size=4)
    host.decode([answer], 4)
    answer.pages, answer.num_read = [], 0
    host.finish(answer, chunk_size=8)
    _check([answer], [expected[2]])


def test_a_stop_token_and_a_limit_end_a_row_within_the_steps(host, expected):
    tokens = expected[2][0]
    stop = tokens[2]
    end = tokens.index(stop) + 1
    stopped = plain_host.Answer(PROMPTS[2], stop_ids=(7, stop))
    limited = plain_host.Answer(PROMPTS[3], max_tokens=2)
    host.finish(stopped, limited)
    assert stopped.tokens == tokens[:end]
    assert limited.tokens == expected[3][0][:2]


def test_nothing_is_compiled_after_the_warm_up(host):
    kinds = [
        kd.serve.SamplingParams(temperature=0.7, top_k=5, top_p=0.9, logprobs=3),
        kd.serve.SamplingParams(temperature=0, repetition_penalty=1.2),
        kd.serve.SamplingParams(min_p=0.1, typical_p=0.8, logit_bias={5: 2.0}),
    ]
    answers = [plain_host.Answer(PROMPTS[2], kind) for kind in kinds]
    events = []

    def listen(event, *_, **__):
        events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        host.finish(*answers, chunk_size=8, num_steps=2)
        host.programs.copy_pages([0], [1])
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not [event for event in events if event.startswith("/jax/core/compile")]


def test_the_pages_stay_where_they_are(host):
    pages = jax.tree.leaves(host.programs._state.pool)
    before = {x.unsafe_buffer_pointer() for x in pages if x.size}
    host.finish(plain_host.Answer(PROMPTS[2]))
    after = jax.tree.leaves(host.programs._state.pool)
    assert {x.unsafe_buffer_pointer() for x in after if x.size} == before
    assert all(x.is_deleted() for x in pages if x.size)
