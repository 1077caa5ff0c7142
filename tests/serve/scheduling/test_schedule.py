"""The schedule: no page is lost or written by two, no answer is lost or changed."""

from __future__ import annotations

import collections

import hypothesis
import pytest
from hypothesis import stateful
from hypothesis import strategies as st

from kauldron.serve.scheduling import _schedule
from kauldron.serve.scheduling._sequences import (
    Phase,
    QueueFullError,
    Sequence,
    Shape,
)
from tests.serve.scheduling import paged_memory

_PAGE = 4


def _sizes(**changes):
    sizes = {
        "num_pages": 12,
        "page_size": _PAGE,
        "num_slots": 4,
        "shapes": (Shape(4, 2), Shape(2, 8)),
        "max_steps": 4,
        "widths": (1, 2, 4),
        "token_budget": 10,
        "max_waiting": 20,
    }
    return _schedule.Sizes(**(sizes | changes))


def _scheduler(**changes):
    sizes = _sizes(**changes)
    memory = paged_memory.PagedMemory(sizes.num_pages, sizes.page_size)
    return _schedule.Scheduler(sizes), memory


def _check(scheduler):
    """Each page is free, or held by exactly those that it counts."""
    held = [page for s in scheduler.running for page in s.pages]
    scheduler.holdings.pool.check([*held, *scheduler.holdings.tree.pages()])
    of_others = collections.Counter(held)
    unused = [p for p in scheduler.holdings.tree.pages() if not of_others[p]]
    assert len(unused) == scheduler.holdings.tree.num_unused
    slots = [s.slot for s in scheduler.running]
    assert len(set(slots)) == len(slots) <= scheduler.sizes.num_slots
    assert all(s.phase is Phase.WAITING and not s.pages for s in scheduler.waiting)


def _visit(scheduler, memory, ended=lambda s: s.room == 0):
    """Makes one plan, does it, and ends what has no room; returns the plan."""
    plan = scheduler.plan()
    assert plan is not None
    _check_plan(scheduler, plan)
    for s in scheduler.done(plan, memory.run(plan)):
        if ended(s):
            scheduler.finish(s)
    _check(scheduler)
    return plan


def _check_plan(scheduler, plan):
    assert len(set(plan.decoding)) == len(plan.decoding)
    assert len(plan.rows) <= plan.shape.rows
    assert sum(row.length for row in plan.rows) <= scheduler.sizes.token_budget
    written = [(row.sequence, row.start, row.start + row.length) for row in plan.rows]
    for s in plan.decoding:
        start = len(s.tokens) - 1
        written.append((s, start, start + min(plan.num_steps, s.room)))
    for s, start, end in written:
        assert s.phase is Phase.RUNNING
        for page in s.pages[start // _PAGE : -(-end // _PAGE)]:
            assert scheduler.holdings.pool.holders(page) == 1, "written, and shared"


def _run_all(scheduler, memory):
    plans = []
    while scheduler.waiting or scheduler.running:
        plans.append(_visit(scheduler, memory))
    assert scheduler.plan() is None
    return plans


def _sequence(prompt, num_made=6, **fields):
    return Sequence(tokens=list(prompt), max_length=len(prompt) + num_made, **fields)


def _is_right(sequence):
    prompt = sequence.tokens[: sequence.num_prompt]
    return sequence.tokens == paged_memory.answer(prompt, sequence.max_length)


class Machine(stateful.RuleBasedStateMachine):
    """Requests come, end, are cancelled and late, in any order."""

    @stateful.initialize(
        num_pages=st.integers(6, 14),
        has_prefixes=st.sampled_from([True, True, False]),
        num_slots=st.integers(1, 5),
    )
    def begin(self, num_pages, has_prefixes, num_slots):
        self.scheduler, self.memory = _scheduler(
            num_pages=num_pages,
            has_prefixes=has_prefixes,
            num_slots=num_slots,
            widths=(1, num_slots),
        )
        self.all, self.slots, self.now, self.plan, self.made = [], {}, 0.0, None, {}

    @stateful.rule(
        prompt=st.lists(st.integers(0, 1), min_size=1, max_size=14),
        repeat=st.sampled_from([0, 0, 5, 8]),
        num_made=st.integers(1, 8),
        n=st.integers(1, 3),
        priority=st.sampled_from([0, 0, 0, 1]),
        patience=st.sampled_from([None, None, 3.0]),
        is_stepwise=st.booleans(),
    )
    def add(self, prompt, repeat, num_made, n, priority, patience, is_stepwise):
        prompt = [0] * repeat + prompt
        room = self.scheduler.sizes.max_length
        deadline = None if patience is None else self.now + patience
        fields = {
            "max_length": min(len(prompt) + num_made, room),
            "priority": priority,
            "deadline": deadline,
            "is_stepwise": is_stepwise,
        }
        first = Sequence(tokens=list(prompt), **fields)
        others = [
            Sequence(tokens=list(prompt), leader=first, **fields) for _ in range(n - 1)
        ]
        before = list(self.scheduler.waiting)
        try:
            self.scheduler.add([first, *others])
        except QueueFullError:
            assert self.scheduler.waiting == before
        else:
            self.all += [first, *others]

    @stateful.precondition(lambda self: self.plan is None)
    @stateful.rule()
    def begin_visit(self):
        self.plan = self.scheduler.plan()
        if self.plan is None:
            assert not self.scheduler.waiting
        else:
            _check_plan(self.scheduler, self.plan)
            for s in self.scheduler.running:
                assert s in self.plan.started or self.slots[s] == s.slot
                self.slots[s] = s.slot
            self.made = self.memory.run(self.plan, self._stops)

    @stateful.precondition(lambda self: self.plan is not None)
    @stateful.rule()
    def end_visit(self):
        assert self.plan is not None
        for s in self.scheduler.done(self.plan, self.made):
            if s.room == 0 or self._stops(s.tokens[-1]):
                self.scheduler.finish(s)
        self.plan = None

    @stateful.precondition(lambda self: self.all)
    @stateful.rule(which=st.integers(0, 10**6))
    def cancel(self, which):
        self.scheduler.finish(self.all[which % len(self.all)])

    @stateful.rule()
    def time_goes_on(self):
        self.now += 1.0
        for s in self.scheduler.expired(self.now):
            self.scheduler.finish(s)

    @stateful.precondition(lambda self: self.plan is None)
    @stateful.rule()
    def parameters_change(self):
        self.scheduler.forget_prefixes()

    @stateful.invariant()
    def every_page_and_every_answer_is_somewhere(self):
        if not hasattr(self, "scheduler"):
            return
        _check(self.scheduler)
        alive = [s for s in self.all if s.phase is not Phase.FINISHED]
        known = [*self.scheduler.running, *self.scheduler.waiting]
        assert sorted(map(id, alive)) == sorted(map(id, known))

    def teardown(self):
        if not hasattr(self, "scheduler"):
            return
        if self.plan is not None:
            self.end_visit()
        _run_all(self.scheduler, self.memory)
        assert all(s.phase is Phase.FINISHED for s in self.all)
        for s in self.all:
            prompt = s.tokens[: s.num_prompt]
            assert s.tokens == paged_memory.answer(prompt, len(s.tokens))
        assert self.scheduler.holdings.num_available == self.scheduler.sizes.num_pages

    @staticmethod
    def _stops(token):
        return token == 4


def _run_machine(max_examples, steps):
    settings = hypothesis.settings(
        max_examples=max_examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        suppress_health_check=[hypothesis.HealthCheck.filter_too_much],
    )
    stateful.run_state_machine_as_test(Machine, settings=settings)


def test_no_page_and_no_answer_is_lost_in_any_order_of_events():
    _run_machine(max_examples=50, steps=60)


@pytest.mark.slow
def test_no_page_and_no_answer_is_lost_in_very_many_orders_of_events():
    _run_machine(max_examples=500, steps=150)


def test_an_answer_is_the_same_alone_and_among_others_that_take_its_pages():
    scheduler, memory = _scheduler(num_pages=8)
    answers = [_sequence([i % 3] * (3 + i), 9) for i in range(8)]
    scheduler.add(answers)
    _run_all(scheduler, memory)
    assert scheduler.counts.preemptions > 0
    assert all(map(_is_right, answers))
    assert scheduler.holdings.num_available == 8


def test_a_prompt_seen_before_is_read_only_from_its_last_page():
    scheduler, memory = _scheduler()
    prompt = [1, 2, 3, 4, 1, 2, 3, 4, 1]
    scheduler.add([_sequence(prompt, 1)])
    _run_all(scheduler, memory)
    before = memory.computed
    again = _sequence(prompt, 1)
    scheduler.add([again])
    _run_all(scheduler, memory)
    assert (again.num_cached, memory.computed - before) == (8, 1)
    assert scheduler.counts.cached_tokens == 8


def test_a_conversation_that_goes_on_reads_neither_prompt_nor_answer_again():
    scheduler, memory = _scheduler()
    first = _sequence([1, 2, 3], 6)
    scheduler.add([first])
    _run_all(scheduler, memory)
    second = _sequence([*first.tokens, 2, 2], 1)
    scheduler.add([second])
    _run_all(scheduler, memory)
    assert second.num_cached == 8
    assert _is_right(second)


@pytest.mark.parametrize(
    ("group", "another"),
    [("one adapter", "another"), (None, "an adapter"), ("an adapter", None)],
)
def test_prefixes_of_another_group_are_not_used(group, another):
    scheduler, memory = _scheduler()
    scheduler.add([_sequence([1] * 9, 1, group=group)])
    _run_all(scheduler, memory)
    other = _sequence([1] * 9, 1, group=another)
    scheduler.add([other])
    _run_all(scheduler, memory)
    assert other.num_cached == 0


def test_nothing_computed_before_a_change_of_parameters_is_used_after_it():
    scheduler, memory = _scheduler()
    first = _sequence([1] * 9, 4)
    scheduler.add([first])
    _visit(scheduler, memory)
    scheduler.forget_prefixes()
    _run_all(scheduler, memory)
    assert scheduler.holdings.tree.num_pages == 0
    again = _sequence([1] * 9, 1)
    scheduler.add([again])
    _run_all(scheduler, memory)
    assert again.num_cached == 0


def test_several_answers_share_the_pages_of_their_prompt_until_they_write():
    scheduler, memory = _scheduler(max_steps=1)
    prompt = [1, 2, 3, 4, 1, 2]
    first = _sequence(prompt, 3)
    second = _sequence(prompt, 3, leader=first)
    scheduler.add([first, second])
    _visit(scheduler, memory)
    plan = scheduler.plan()
    assert plan is not None
    assert first.pages[0] == second.pages[0]
    # Whoever writes last finds the page its own.
    assert plan.copies == ((second.pages[1], first.pages[1]),)
    scheduler.done(plan, memory.run(plan))
    _run_all(scheduler, memory)
    assert _is_right(first)
    assert _is_right(second)
    assert memory.computed == 5 + 2 * 3


def test_what_is_used_least_recently_is_forgotten_first():
    scheduler, memory = _scheduler(num_pages=6)
    for token in (1, 2, 1):
        scheduler.add([_sequence([token] * 8, 1)])
        _run_all(scheduler, memory)
    scheduler.add([_sequence([3] * 16, 1)])
    _run_all(scheduler, memory)
    kept, lost = _sequence([1] * 9, 1), _sequence([2] * 9, 1)
    scheduler.add([kept, lost])
    _run_all(scheduler, memory)
    assert (kept.num_cached, lost.num_cached) == (8, 0)


def test_long_prompts_are_read_in_chunks_while_others_decode():
    scheduler, memory = _scheduler(num_pages=40)
    short, long = _sequence([1, 2], 20), _sequence([2] * 40, 1)
    scheduler.add([short])
    _visit(scheduler, memory)
    scheduler.add([long])
    plans = _run_all(scheduler, memory)
    mixed = [plan for plan in plans if plan.rows and plan.decoding]
    assert len(mixed) == 5  # 39 tokens, 8 at once
    assert all(plan.num_steps == 1 for plan in mixed)


def test_several_tokens_are_made_at_once_if_nobody_waits_for_it():
    scheduler, memory = _scheduler()
    scheduler.add([_sequence([1, 2], 9)])
    steps = [plan.num_steps for plan in _run_all(scheduler, memory) if plan.decoding]
    assert steps == [1, 4, 4]  # the first as soon as the prompt is read


def test_an_answer_that_the_host_has_to_see_is_made_token_by_token():
    scheduler, memory = _scheduler()
    scheduler.add([_sequence([1, 2], 9, is_stepwise=True)])
    plans = _run_all(scheduler, memory)
    assert {plan.num_steps for plan in plans} == {1}


def test_a_larger_priority_comes_first_and_takes_the_slot_of_a_smaller_one():
    scheduler, memory = _scheduler(num_slots=1)
    low, high = _sequence([1] * 3, 8), _sequence([2] * 3, 2, priority=1)
    scheduler.add([low])
    _visit(scheduler, memory)
    scheduler.add([high])
    ended = []
    while scheduler.running or scheduler.waiting:
        _visit(scheduler, memory)
        ended += [s for s in (low, high) if s.room == 0 and s not in ended]
    assert ended == [high, low]
    assert _is_right(low)


def test_only_what_is_late_has_expired():
    scheduler, _ = _scheduler()
    late, in_time, never = (_sequence([1], deadline=t) for t in (1.0, 2.0, None))
    scheduler.add([late, in_time, never])
    assert scheduler.expired(1.5) == [late]


def test_a_request_that_finds_the_queue_full_leaves_it_as_it_was():
    scheduler, _ = _scheduler(max_waiting=2)
    scheduler.add([_sequence([1])])
    with pytest.raises(QueueFullError, match="1 answers wait, and 2 may"):
        scheduler.add([_sequence([1]), _sequence([1])])
    assert len(scheduler.waiting) == 1


def test_what_never_fits_is_refused():
    scheduler, _ = _scheduler(num_pages=2)
    with pytest.raises(
        ValueError, match="of 10 tokens never fits: there is room for 9"
    ):
        scheduler.add([_sequence([1] * 4, 6)])
    scheduler.add([_sequence([1] * 8, 1)])
