"""What the compiled programs make is what `kd.lm.generate` makes of each row alone."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
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
def programs(params, quick_compile):
    made = _programs.Programs(
        *(MODEL, jax.tree.map(jnp.asarray, params)),
        owns_params=True,
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


@pytest.mark.parametrize("num_right", [0, 2, 3])
def test_drafts_that_are_right_are_kept_with_one_token_more(host, expected, num_right):
    tokens = expected[2][0]
    answer = plain_host.Answer(PROMPTS[2])
    host.prefill(answer, chunk_size=8)
    drafts = host.programs.empty_drafts(1)
    drafts[0, : len(tokens[:3])] = tokens[:3]
    if num_right < 3:
        drafts[0, num_right] = (tokens[num_right] + 1) % 300
    found = host.programs.verify(host.batch([answer]), drafts).get()
    made = [token for token in found.tokens[0].tolist() if token >= 0]
    assert made == tokens[: num_right + 1]
    answer.tokens += made
    answer.logprobs += found.logprobs[0, : len(made)].tolist()
    host.finish(answer)
    _check([answer], [expected[2]])


def test_drawn_drafts_are_those_that_steps_draw(host):
    kind = kd.serve.SamplingParams(temperature=1.5, frequency_penalty=0.5)
    stepped = plain_host.Answer(PROMPTS[2], kind, seed=5, max_tokens=4)
    host.finish(stepped, num_steps=1)
    verified = plain_host.Answer(PROMPTS[2], kind, seed=5, max_tokens=4)
    host.prefill(verified, chunk_size=8)
    host.programs.set_history(0, verified.prompt)
    drafts = host.programs.empty_drafts(1)
    drafts[0] = stepped.tokens[:3]
    found = host.programs.verify(host.batch([verified]), drafts).get()
    assert found.tokens[0].tolist() == stepped.tokens


def test_draws_are_those_of_generate_with_the_same_seed(host, params):
    options = {"temperature": 1.2, "top_k": 50, "top_p": 0.9}
    rows = kd.lm.generate(
        *(MODEL, params, PROMPTS),
        max_tokens=MAX_TOKENS,
        sampling=kd.lm.Sampling(**options),
        seeds=list(range(5)),
    )
    kind = kd.serve.SamplingParams(**options)
    answers = [plain_host.Answer(p, kind, seed=i) for i, p in enumerate(PROMPTS)]
    host.finish(*answers)
    for answer, row in zip(answers, rows, strict=True):
        assert answer.tokens == row.tokens.tolist()
        assert np.all(np.array(answer.drawn_logprobs) >= answer.logprobs)


def _whole(host, tokens):
    """Returns a prefill batch of the largest chunks with all these tokens."""
    batch = host.programs.empty_prefill(8)
    batch.page_tables[:, :5] = range(150, 155)
    for i, start in enumerate(range(0, len(tokens), 8)):
        part = tokens[start : start + 8]
        batch.tokens[i, : len(part)] = part
        batch.positions[i, : len(part)] = range(start, start + len(part))
    return batch


def test_scores_are_the_log_probabilities_of_the_whole_forward_pass(host, params):
    tokens = PROMPTS[3]
    targets = np.full((3, 8), -1, np.int32)
    targets.reshape(-1)[: len(tokens) - 1] = tokens[1:]
    scored = host.programs.score(_whole(host, tokens), targets).get()
    found = scored.logprobs.reshape(-1)
    expected = kd.lm.token_logprobs(MODEL, params, tokens)
    np.testing.assert_allclose(found[: len(tokens) - 1], expected, atol=1e-4)
    assert not found[len(tokens) - 1 :].any()
    assert np.all(scored.top_logprobs[0, :, 0] >= scored.logprobs[0] - 1e-5)


def test_embeddings_sum_the_hidden_states_of_the_tokens(host, params):
    tokens = PROMPTS[3]
    run = jax.jit(functools.partial(MODEL.apply, mutable=["intermediates"]))
    _, kept = run({"params": params}, np.array([tokens]))
    hidden = np.asarray(kept["intermediates"]["hidden"][0][0])
    found = np.asarray(host.programs.embed(_whole(host, tokens)))
    np.testing.assert_allclose(found.sum(axis=0), hidden.sum(axis=0), atol=1e-3)


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


def test_other_parameters_take_the_place_of_those_that_were_let_go(
    host, params, expected
):
    host.programs.set_params(None)
    twice = jax.tree.map(lambda x: jnp.asarray(2 * x), params)
    host.programs.set_params(twice)
    answer = plain_host.Answer(PROMPTS[2])
    host.finish(answer)
    # They are not given away as the first ones were.
    assert not any(x.is_deleted() for x in jax.tree.leaves(twice))
    host.programs.set_params(jax.tree.map(jnp.asarray, params))
    again = plain_host.Answer(PROMPTS[2])
    host.finish(again)
    _check([again], [expected[2]])
    assert answer.tokens != again.tokens


def test_the_pages_stay_where_they_are(host):
    pages = jax.tree.leaves(host.programs._state.pool)
    before = {x.unsafe_buffer_pointer() for x in pages if x.size}
    host.finish(plain_host.Answer(PROMPTS[2]))
    after = jax.tree.leaves(host.programs._state.pool)
    assert {x.unsafe_buffer_pointer() for x in after if x.size} == before
    assert all(x.is_deleted() for x in pages if x.size)


@pytest.mark.parametrize(
    ("sizes", "shapes"),
    [
        ((16, 64), ((4, 16), (4, 64), (16, 16))),
        ((8,), ((4, 8),)),
        ((8, 12), ((4, 8), (4, 12))),
    ],
)
def test_many_short_prompts_are_read_at_once_in_as_many_tokens_as_long_ones(
    sizes, shapes
):
    assert _programs.prefill_shapes(4, sizes) == shapes
