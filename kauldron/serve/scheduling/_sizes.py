"""What a schedule has to keep to, and what it counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from kauldron.serve.scheduling._sequences import Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a schedule has to keep to.

    Attributes:
      num_pages: Of the pool.
      page_size: Tokens of a page.
      num_slots: Answers that run at the same time.
      widths: Numbers of slots, from the first on, that decoding programs have; the
        largest is `num_slots`.
      shapes: Of the programs that read prompts.
      max_steps: The most tokens of an answer that are made in a visit.
      token_budget: The most tokens of prompts read in a visit.
      max_waiting: The most answers that wait.
      has_prefixes: Whether prefixes are kept for others.
    """

    num_pages: int
    page_size: int
    num_slots: int
    shapes: Sequence[Shape]
    widths: Sequence[int] = ()
    max_steps: int = 1
    token_budget: int = 512
    max_waiting: int = 1024
    has_prefixes: bool = True

    def __post_init__(self) -> None:
        if min(self.token_budget, self.num_slots, self.max_steps, len(self.shapes)) < 1:
            raise ValueError(
                f"A schedule needs shapes, slots and a budget: got {self}."
            )

    @property
    def max_length(self) -> int:
        """The most tokens of a sequence: the pool holds all but the last."""
        return self.num_pages * self.page_size + 1

    def width_for(self, num_slots: int) -> int:
        """Returns the width of the least program that has so many slots."""
        wide = (width for width in self.widths if width >= num_slots)
        return min(wide, default=self.num_slots)

    def pages_for(self, num_tokens: int) -> int:
        """Returns the pages that so many tokens need."""
        return -(-num_tokens // self.page_size)


@dataclasses.dataclass
class Counts:
    """What has happened so far.

    Attributes:
      preemptions: Times that an answer gave up its pages.
      prompt_tokens: Tokens of prompts of answers that began.
      cached_tokens: Of these, the ones that were in a page already.
    """

    preemptions: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
