"""What is scheduled: answers as rows of tokens, and what a visit of the device does."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Hashable
from typing import NamedTuple


class Phase(enum.Enum):
    """Where a sequence is."""

    NEW = "new"
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclasses.dataclass(eq=False, kw_only=True)
class Sequence:
    """The tokens of one answer, prompt included, and what is computed of them.

    Keys and values of the first `num_computed` tokens are in `pages`. Those of the last
    one are not computed before the next token is made of it.

    Attributes:
      tokens: Prompt, and what was made so far.
      max_length: The most tokens, prompt included.
      priority: Those of a larger number come first.
      deadline: Time at which it has to end; `None` is never.
      group: Prefixes are shared within a group only.
      leader: Another answer to the same prompt, added before; its prompt is computed for
        both.
      is_stepwise: Whether the host has to see each token before the next is made.
      num_cached: Tokens that were in a page when it began; `None` before.
      phase: Where it is.
      slot: Its row of the decoding programs, while it runs.
      pages: It holds these, while it runs.
      num_computed: Tokens whose keys and values are in `pages`.
      num_in_tree: The first pages which the tree of prefixes holds, too.
      is_shareable: Whether its pages may go into the tree.
      arrival: Its place among those of the same priority.
    """

    tokens: list[int]
    max_length: int
    priority: int = 0
    deadline: float | None = None
    group: Hashable = None
    leader: Sequence | None = None
    is_stepwise: bool = False
    num_cached: int | None = None
    phase: Phase = Phase.NEW
    slot: int = -1
    pages: list[int] = dataclasses.field(default_factory=list)
    num_computed: int = 0
    num_in_tree: int = 0
    is_shareable: bool = True
    arrival: int = -1

    def __post_init__(self) -> None:
        self.num_prompt = len(self.tokens)

    @property
    def room(self) -> int:
        """Tokens that may still be made."""
        return self.max_length - len(self.tokens)

    @property
    def num_unread(self) -> int:
        """Tokens to compute before the next one can be made of the last."""
        return len(self.tokens) - 1 - self.num_computed

    @property
    def order(self) -> tuple[int, int]:
        """The least is first."""
        return -self.priority, self.arrival


class Shape(NamedTuple):
    """Of a program that reads prompts: so many rows, each of so many tokens."""

    rows: int
    width: int


class Row(NamedTuple):
    """A part of a prompt, for a row of a program.

    Attributes:
      sequence: Whose.
      start: The first token.
      length: How many.
    """

    sequence: Sequence
    start: int
    length: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the device does next, in this order.

    Attributes:
      started: Sequences that have got another slot since the last plan.
      copies: Pages to copy, from and to, before anything is written.
      shape: Of the program that reads `rows`.
      rows: Parts of prompts to read; those of one prompt come one after the other.
      decoding: Sequences of which the next tokens are made.
      num_steps: How many tokens are made of each of them, at most.
    """

    started: tuple[Sequence, ...]
    copies: tuple[tuple[int, int], ...]
    shape: Shape
    rows: tuple[Row, ...]
    decoding: tuple[Sequence, ...]
    num_steps: int


class QueueFullError(RuntimeError):
    """More is waiting than may wait."""
