"""Two clocks for benchmarks on shared machines: of the wall, and of all processors."""

import os
import resource
import time


def measured(run):
    """Returns what `run` does, and its seconds by the clock and of processors.

    Those of processes that it started and that have ended count too.
    """
    start = _now()
    result = run()
    return result, [end - begin for begin, end in zip(start, _now(), strict=True)]


def _now():
    used = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    times = [resource.getrusage(who) for who in used]
    return [time.perf_counter(), sum(t.ru_utime + t.ru_stime for t in times)]


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
