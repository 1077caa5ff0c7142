"""`python -m tests.faults --kills=200`: kills runs, and prints a table of what became.

The exit code is 1 if anything was lost or differs.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import itertools
import pathlib
import random
import sys
import tempfile
import time

from tests.faults import chains, killers, nursery, runs

_KILLS_PER_CHAIN = 10
# Of ten kills: five anywhere in the run, five inside a save.
_PATTERN = [killers.ANYWHERE] * 5 + [killers.WRITE] * 2 + [killers.COMMIT] * 2
_PATTERN += [killers.CLEANUP]


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", nargs="*", default=list(runs.RUNS))
    args = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = kill_many(
            pathlib.Path(folder), args.runs, num_kills=args.kills, seed=args.seed
        )
    print(table(outcomes))
    print(f"\nseed {args.seed}, {time.monotonic() - start:.0f} s")
    problems = [f"{o.name}: {p}" for o in outcomes for p in o.problems]
    print("\n".join(problems) or "No problem.")
    return bool(problems)


def kill_many(
    folder: pathlib.Path, names: list[str], *, num_kills: int, seed: int
) -> list[chains.Outcome]:
    """Kills the runs in turn, until as many kills as asked for have hit."""
    rng = random.Random(seed)
    outcomes = []
    cache = folder / "cache"
    expected = {}
    with contextlib.ExitStack() as stack:

        @functools.cache
        def nursery_of(
            num_processes: int, num_devices: int
        ) -> nursery.Nursery | nursery.Together:
            if num_processes == 1:
                started = nursery.Nursery(num_devices=num_devices, cache=cache)
            else:
                started = nursery.Together(
                    num_processes=num_processes, num_devices=num_devices, cache=cache
                )
            return stack.enter_context(started)

        for number, name in enumerate(itertools.cycle(names)):
            children = nursery_of(runs.NUM_PROCESSES[name], runs.NUM_DEVICES[name])
            left = num_kills - sum(o.hits.total() for o in outcomes)
            if left <= 0:
                break
            if name not in expected:
                whole = folder / f"{name}-whole"
                expected[name] = chains.run_uninterrupted(children, name, whole)
            outcome = chains.run_chain(
                children,
                name,
                folder / f"{name}-{number}",
                expected=expected[name],
                phases=_PATTERN[: min(left, _KILLS_PER_CHAIN)],
                rng=rng,
            )
            print(outcome, file=sys.stderr, flush=True)
            outcomes.append(outcome)
    return outcomes


def table(outcomes: list[chains.Outcome]) -> str:
    """Returns a Markdown table: a row per run, how often each phase was hit."""
    hits: dict[str, collections.Counter[str]] = collections.defaultdict(
        collections.Counter
    )
    chains_of, problems = collections.Counter(), collections.Counter()
    for outcome in outcomes:
        hits[outcome.name] += outcome.hits
        chains_of[outcome.name] += 1
        problems[outcome.name] += len(outcome.problems)
    header = ["run", "chains", *killers.PHASES, "kills", "problems"]
    rows = [
        [
            name,
            chains_of[name],
            *(hits[name][phase] for phase in killers.PHASES),
            hits[name].total(),
            problems[name],
        ]
        for name in hits
    ]
    sums = [sum(row[i] for row in rows) for i in range(1, len(header))]
    rows.append(["all", *sums])
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
