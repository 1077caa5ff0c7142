"""Two clocks for benchmarks on shared machines, and programs that are timed in turn.

The clocks are that of the wall, and that of all processors, which other programs on the
machine hardly disturb. Needs the standard library alone: peers in environments of their own
use it too.
"""

import os
import resource
import statistics
import time
import typing


class Secs(typing.NamedTuple):
    """Seconds of a run.

    Attributes:
      wall: By the clock.
      processor: Of all processors together; those of ended child processes count.
    """

    wall: float
    processor: float

    def per(self, number):
        """Seconds of one of `number` equal parts."""
        return Secs(self.wall / number, self.processor / number)


class Spread(typing.NamedTuple):
    """What repeated measurements say.

    Attributes:
      median: Of all.
      low: The smallest.
      high: The largest.
    """

    median: float
    low: float
    high: float


class Ratios(typing.NamedTuple):
    """Ratios of rounds, on both clocks."""

    wall: Spread
    processor: Spread

    @property
    def medians(self):
        return Secs(self.wall.median, self.processor.median)


def now():
    """Both clocks; only differences mean something."""
    used = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    times = [resource.getrusage(who) for who in used]
    return Secs(time.perf_counter(), sum(t.ru_utime + t.ru_stime for t in times))


def since(start):
    """Seconds since an earlier `now()`."""
    return Secs(*(end - begin for begin, end in zip(start, now(), strict=True)))


def measured(run):
    """Returns what `run` does, and its seconds on both clocks."""
    start = now()
    result = run()
    return result, since(start)


def timed(run):
    """Returns a function that runs `run` and returns the seconds, for `in_turn`."""
    return lambda: measured(run)[1]


def rounds(number):
    """Returns how many rounds are measured: as many, or fewer if `BENCH_ROUNDS` says so.

    One round tells whether a benchmark runs, not what it measures.
    """
    return min(number, int(os.environ.get("BENCH_ROUNDS", number)))


def of_one(run, number, num_rounds=7):
    """Returns the seconds of one call of many, in each round."""

    def many():
        for _ in range(number):
            run()

    many()
    return [measured(many)[1].per(number) for _ in range(rounds(num_rounds))]


def in_turn(runs, num_rounds=7, num_warm_up=1):
    """Runs all by turns, so that each meets the same machine.

    Every other round goes backwards: nobody always runs behind the same one.

    Args:
      runs: Name -> function that returns its `Secs`.
      num_rounds: How often each is measured.
      num_warm_up: Rounds before that, which do not count.

    Returns:
      Name -> seconds of each round.
    """
    secs = {name: [] for name in runs}
    for number in range(num_warm_up + rounds(num_rounds)):
        names = list(runs) if number % 2 else list(reversed(runs))
        for name in names:
            found = runs[name]()
            if number >= num_warm_up:
                secs[name].append(Secs(*found))
    return secs


def spread(numbers):
    """Median, smallest and largest."""
    numbers = list(numbers)
    return Spread(statistics.median(numbers), min(numbers), max(numbers))


def medians(rounds):
    """The median over rounds, of each clock for itself."""
    return Secs(*map(statistics.median, zip(*rounds, strict=True)))


def ratios(ours, theirs):
    """Ours over theirs, round by round."""
    pairs = list(zip(ours, theirs, strict=True))
    return Ratios(
        wall=spread(a.wall / b.wall for a, b in pairs),
        processor=spread(a.processor / b.processor for a, b in pairs),
    )


def of_tree(process=None):
    """Returns seconds of processors of a process and of those below it that live.

    Linux only; for workers that go on when the measurement ends.
    """
    process = process or os.getpid()
    try:
        with open(f"/proc/{process}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        children = []
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/children") as file:
                children += file.read().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK") + sum(map(of_tree, map(int, children)))
