"""Who is next: a deterministic schedule of prompts to read and tokens to make.

All that runs has a slot, and pages for what it has computed. A visit of the device reads
one piece of the prompts that are not read yet, under a budget of tokens, and makes one or
more tokens of each answer whose prompt is. When pages run out, prefixes that nobody uses
are forgotten; then the answer that is last in order gives up its pages and its slot,
waits, and is computed again from its tokens.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Mapping, Sequence

from kauldron.serve.scheduling import _chunks, _sequences
from kauldron.serve.scheduling._holdings import Holdings
from kauldron.serve.scheduling._sequences import Phase, Plan, Row
from kauldron.serve.scheduling._sizes import Counts, Sizes


class Scheduler:
    """Plans visits of the device; see the module. One thread at a time.

    Attributes:
      sizes: What it keeps to.
      holdings: The pages.
      waiting: In order.
      running: In order.
      counts: What has happened.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.holdings = Holdings(sizes)
        self.waiting: list[_sequences.Sequence] = []
        self.running: list[_sequences.Sequence] = []
        self.counts = Counts()
        self._slots = list(range(sizes.num_slots))  # a heap
        self._started: set[_sequences.Sequence] = set()
        self._num_arrived = 0

    def add(self, answers: Sequence[_sequences.Sequence]) -> None:
        """Adds the answers to a request, all or none.

        Raises:
          QueueFullError: If more would wait than may.
          ValueError: If one would never fit, or was added before.
        """
        for sequence in answers:
            if sequence.phase is not Phase.NEW:
                raise ValueError("A sequence is added once.")
            if not 0 < len(sequence.tokens) < sequence.max_length:
                raise ValueError("A sequence begins with a token, and makes one.")
            if sequence.max_length > self.sizes.max_length:
                raise ValueError(
                    f"A sequence of {sequence.max_length} tokens never fits: "
                    f"there is room for {self.sizes.max_length}."
                )
        if len(self.waiting) + len(answers) > self.sizes.max_waiting:
            raise _sequences.QueueFullError(
                f"{len(self.waiting)} answers wait, and {self.sizes.max_waiting} may."
            )
        for sequence in answers:
            sequence.arrival = self._num_arrived
            self._num_arrived += 1
            self._wait(sequence)

    def finish(self, sequence: _sequences.Sequence) -> None:
        """Ends a sequence, wherever it is, and frees what it holds. Twice is once."""
        if sequence.phase is Phase.WAITING:
            self.waiting.remove(sequence)
        elif sequence.phase is Phase.RUNNING:
            self._stop(sequence)
        sequence.phase = Phase.FINISHED
        sequence.leader = None

    def expired(self, now: float) -> list[_sequences.Sequence]:
        """Returns the sequences whose deadline has come."""
        return [
            s
            for s in [*self.running, *self.waiting]
            if s.deadline is not None and s.deadline <= now
        ]

    def forget_prefixes(self) -> None:
        """Forgets what was computed, as after a change of the parameters.

        What runs goes on with its pages, which nobody else will use.
        """
        self.holdings.tree.clear()
        for sequence in self.running:
            sequence.num_in_tree, sequence.is_shareable = 0, False

    def borrow(self, num_pages: int) -> list[int]:
        """Returns pages for something else; whoever is last stops for it if they must.

        They have to be given back before the next plan.

        Args:
          num_pages: How many; no more than there are.
        """
        while self.holdings.num_available < num_pages:
            self._preempt_last()
        return self.holdings.take(num_pages)

    def give_back(self, pages: Sequence[int]) -> None:
        """Takes back pages that were borrowed."""
        self.holdings.tree.release(pages)

    def plan(self) -> Plan | None:
        """Returns what the device does next; `None` if there is nothing to do.

        What is written belongs to one sequence alone. Each plan has to be followed by
        `done`.
        """
        self._started.clear()
        self._admit()
        steps, copies, decoding = self._num_steps(), [], []
        for sequence in list(self.running):
            is_ready = sequence.phase is Phase.RUNNING and not sequence.num_unread
            if is_ready and self._reserve(sequence, steps, copies):
                decoding.append(sequence)
        shape, rows = _chunks.cheapest(self.running, self.sizes)
        decoding += self._read_now(rows)
        if not (rows or decoding):
            assert not (self.running or self.waiting), "nobody is next, but some wait"
            return None
        self._close_up()
        started = tuple(s for s in self.running if s in self._started)
        return Plan(started, tuple(copies), shape, rows, tuple(decoding), steps)

    def done(
        self, plan: Plan, made: Mapping[_sequences.Sequence, Sequence[int]]
    ) -> list[_sequences.Sequence]:
        """Takes what became of a plan; returns the sequences that have new tokens.

        Args:
          plan: The last one.
          made: The tokens made of each sequence of `decoding`. Those that have ended
            since are left alone.
        """
        for row in plan.rows:
            if row.sequence.phase is Phase.RUNNING:
                row.sequence.num_computed += row.length
                self.holdings.share(row.sequence)
        alive = [s for s in plan.decoding if s.phase is Phase.RUNNING]
        for sequence in alive:
            sequence.num_computed += len(made[sequence])
            sequence.tokens += made[sequence]
            self.holdings.share(sequence)
        return alive

    # Waiting and running.

    def _wait(self, sequence: _sequences.Sequence) -> None:
        sequence.phase = Phase.WAITING
        bisect.insort(self.waiting, sequence, key=lambda s: s.order)

    def _stop(self, sequence: _sequences.Sequence) -> None:
        self.running.remove(sequence)
        self._started.discard(sequence)
        self.holdings.end(sequence)
        heapq.heappush(self._slots, sequence.slot)
        sequence.slot = -1

    def _preempt_last(self) -> _sequences.Sequence:
        sequence = self.running[-1]
        self._stop(sequence)
        self._wait(sequence)
        self.counts.preemptions += 1
        return sequence

    def _admit(self) -> None:
        """Lets those run that are first, as far as slots and pages go."""
        held_back = 0
        while held_back < len(self.waiting):
            sequence = self.waiting[held_back]
            if _waits_for_leader(sequence):
                held_back += 1
                continue
            # One page more for it and each that runs, or one would stop again at once.
            num_spare = 1 + len(self.running) if self.running else 0
            if self._slots and self.holdings.begin(sequence, num_spare):
                self._start(sequence)
            elif self.running[-1].priority < sequence.priority:
                self._preempt_last()
            else:
                return

    def _start(self, sequence: _sequences.Sequence) -> None:
        self.waiting.remove(sequence)
        sequence.phase, sequence.slot = Phase.RUNNING, heapq.heappop(self._slots)
        sequence.leader = None
        self._started.add(sequence)
        bisect.insort(self.running, sequence, key=lambda s: s.order)
        if sequence.num_cached is None:
            sequence.num_cached = sequence.num_computed
            self.counts.prompt_tokens += len(sequence.tokens)
            self.counts.cached_tokens += sequence.num_computed

    def _close_up(self) -> None:
        """Lets those in the last slots move, if that makes for a narrower program."""
        width = self.sizes.width_for(len(self.running))
        for sequence in self.running:
            if sequence.slot >= width:
                heapq.heappush(self._slots, sequence.slot)
                sequence.slot = heapq.heappop(self._slots)
                self._started.add(sequence)

    # What a visit does.

    def _num_steps(self) -> int:
        """Returns how many tokens to make at once.

        One, if prompts would have to wait for it or the host has to look at each; and no
        more than there are pages for.
        """
        if any(s.is_stepwise or s.num_unread for s in self.running):
            return 1
        most = min(self.sizes.max_steps, max((s.room for s in self.running), default=1))
        for steps in range(most, 1, -1):
            lacking = sum(
                self.holdings.num_lacking(s, s.num_computed + min(steps, s.room))
                for s in self.running
            )
            if lacking <= self.holdings.num_available:
                return steps
        return 1

    def _reserve(
        self, sequence: _sequences.Sequence, steps: int, copies: list[tuple[int, int]]
    ) -> bool:
        """Lets a sequence write some tokens; others stop for it if they must.

        Returns whether the sequence still runs.
        """
        start = len(sequence.tokens) - 1
        end = start + min(steps, sequence.room)
        while (found := self.holdings.write(sequence, start, end)) is None:
            if self._preempt_last() is sequence:
                return False
        copies += found
        return True

    def _read_now(self, rows: Sequence[Row]) -> list[_sequences.Sequence]:
        """Returns those whose prompt ends with these rows, if there is a page for them."""
        read = []
        for row in rows:
            end = row.start + row.length
            if end == len(row.sequence.tokens) - 1:
                copies = self.holdings.write(row.sequence, end, end + 1)
                assert not copies, "what is read is shared"
                if copies is not None:
                    read.append(row.sequence)
        return read


def _waits_for_leader(sequence: _sequences.Sequence) -> bool:
    leader = sequence.leader
    if leader is None or leader.phase is Phase.FINISHED:
        return False
    return leader.num_computed < leader.num_prompt - 1
