"""What `make bench-quick` measures, against what it measured when it was recorded.

A ratio that has become twice as large is a regression: less is what a shared machine does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.benchmarks import clocks

LIMIT = 2.0
Measure = Callable[[], clocks.Secs]


def check(
    measures: Mapping[str, Measure],
    recorded: Mapping[str, Mapping[str, float]],
    *,
    tell: Callable[[str], None] = print,
) -> list[str]:
    """Measures all, once more what has become slow; returns what is wrong.

    Args:
      measures: Name -> function that returns ratios to a baseline, one of each clock.
      recorded: Name -> clock -> the ratio that is known.
      tell: Is given a line for each.
    """
    failures = [
        f"{name} is recorded and no longer measured: remove it by --record."
        for name in recorded
        if name not in measures
    ]
    for name, measure in measures.items():
        if name not in recorded:
            failures.append(f"{name} is not recorded: add it by --record.")
            continue
        known = clocks.Secs(**recorded[name])
        ratios = measure()
        tell(_line(name, ratios, known))
        if slower(ratios, known):
            again = measure()
            tell(f"{_line(name, again, known)} (once more)")
            # Each clock: what the machine did to one of two tries, the other shows.
            ratios = clocks.Secs(*map(min, ratios, again))
        for clock, factor in slower(ratios, known).items():
            failures.append(
                f"{name} has become {factor:.1f} x slower by {clock} time: the ratio to "
                f"its baseline was {getattr(known, clock):.2f}, and is "
                f"{getattr(ratios, clock):.2f}. If that is meant, run `make "
                "bench-record`; else look at what has changed."
            )
    return failures


def slower(ratios: clocks.Secs, recorded: clocks.Secs) -> dict[str, float]:
    """Clock -> how much slower, of those that show a regression."""
    factors = {
        clock: now / before
        for clock, now, before in zip(
            clocks.Secs._fields, ratios, recorded, strict=True
        )
    }
    return {clock: x for clock, x in factors.items() if not x <= LIMIT}


def _line(name: str, ratios: clocks.Secs, known: clocks.Secs) -> str:
    return (
        f"{name:28} {ratios.wall:7.2f} x its baseline ({known.wall:.2f} recorded), "
        f"processor time {ratios.processor:.2f} ({known.processor:.2f})"
    )
