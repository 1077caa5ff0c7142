"""`python -m tests.mutants losses`: plants faults, one at a time, and runs the tests.

A fault that no test notices survives, and is printed as a diff. Cosmic Ray makes the
faults, in copies of the project. Needs `pip install -e '.[mutants]'`.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import pathlib
import queue
import sys
import tempfile

from cosmic_ray import work_item

from tests.mutants import faults, rooms, runs

_ROOT = pathlib.Path(__file__).parents[2]


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description=__doc__
    )
    parser.add_argument("room", help="a folder of kauldron/, or a name in rooms.py")
    parser.add_argument("--sample", type=int, default=100, help="how many faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    room = rooms.find(args.room, _ROOT)
    with tempfile.TemporaryDirectory(prefix="kauldron-mutants-") as folder:
        is_noticed = plant(room, pathlib.Path(folder), args)
    num_noticed, share = (
        sum(is_noticed),
        100 * sum(is_noticed) / max(len(is_noticed), 1),
    )
    print(
        f"{args.room}: {num_noticed} of {len(is_noticed)} faults were noticed "
        f"({share:.0f} %)"
    )
    return 0


def plant(
    room: rooms.Room, folder: pathlib.Path, args: argparse.Namespace
) -> list[bool]:
    """Plants the faults, prints those that survive; returns which were noticed."""
    specs = faults.find(_ROOT, room.sources(_ROOT))
    chosen = faults.choose(specs, num=args.sample, seed=args.seed)
    tests_of = [room.tests_for(spec.module_path) for spec in chosen]
    print(
        f"{len(specs)} faults can be planted; {len(chosen)} are. Sets of tests: "
        f"{len(set(tests_of))}.",
        flush=True,
    )
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "cache")
    runs.start_server()
    copies: queue.Queue[pathlib.Path] = queue.Queue()
    for i in range(args.processes):
        copies.put(runs.copy_project(_ROOT, folder / f"copy_{i}"))
    secs: dict[tuple[str, ...], float] = {}

    def measure(tests: tuple[str, ...]) -> None:
        # Also fills the cache of compiled programs.
        secs[tests] = _time_unharmed(copies, tests)

    def is_noticed(spec: work_item.MutationSpec, tests: tuple[str, ...]) -> bool:
        return _is_noticed(copies, spec, tests, timeout=3 * secs[tests] + 30)

    with concurrent.futures.ThreadPoolExecutor(args.processes) as pool:
        list(pool.map(measure, sorted(set(tests_of))))
        print(f"Unharmed, they take {sum(secs.values()):.0f} s.", flush=True)
        return list(pool.map(is_noticed, chosen, tests_of))


def _time_unharmed(copies: queue.Queue[pathlib.Path], tests: tuple[str, ...]) -> float:
    """Returns the seconds that tests take without a fault.

    Raises:
      SystemExit: If they fail.
    """
    copy = copies.get()
    passed, secs = runs.passes(copy, tests)
    output = runs.output_of(copy)
    copies.put(copy)
    if not passed:
        raise SystemExit(f"Without a fault, {tests} fail:\n{output}")
    return secs


def _is_noticed(
    copies: queue.Queue[pathlib.Path],
    spec: work_item.MutationSpec,
    tests: tuple[str, ...],
    *,
    timeout: float,
) -> bool:
    """Plants a fault in one of the copies; prints it as a diff if the tests pass."""
    copy = copies.get()
    name = spec.module_path.relative_to(_ROOT)
    right = (copy / name).read_text(encoding="utf-8")
    wrong = faults.plant(spec, right)
    (copy / name).write_text(wrong, encoding="utf-8")
    survived, secs = runs.passes(copy, tests, timeout=timeout)
    (copy / name).write_text(right, encoding="utf-8")
    copies.put(copy)
    line = f"{name}:{spec.start_pos[0]}: {spec.operator_name.partition('/')[2]}"
    print(
        f"{'survived' if survived else 'noticed'} in {secs:.0f} s: {line}", flush=True
    )
    if survived:
        print(faults.diff(right, wrong, name=str(name)), flush=True)
    return not survived


if __name__ == "__main__":
    sys.exit(main())
