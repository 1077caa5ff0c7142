"""`python -m tests.mutants losses`: plants faults, one at a time, and runs the tests.

A fault that no test notices survives, and is printed as a diff. Cosmic Ray makes the
faults, in copies of the project. Needs `pip install -e '.[mutants]'`.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

from cosmic_ray import mutating, work_item

from tests.mutants import faults, rooms

_ROOT = pathlib.Path(__file__).parents[2]
_KEPT = ("kauldron", "configs", "examples", "tests", "docs", "pyproject.toml")


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
        results = run(room, pathlib.Path(folder), args)
    survivors = [r for r in results if not r.is_killed]
    for result in survivors:
        print(result.diff, end="\n\n")
    killed = len(results) - len(survivors)
    share = 100 * killed / max(len(results), 1)
    print(
        f"{args.room}: {killed} of {len(results)} faults were noticed ({share:.0f} %)"
    )
    return 0


def run(
    room: rooms.Room, folder: pathlib.Path, args: argparse.Namespace
) -> list[work_item.WorkResult]:
    """Plants the faults, and returns what the tests said of each."""
    specs = faults.find(_ROOT, room.sources(_ROOT))
    chosen = faults.choose(specs, num=args.sample, seed=args.seed)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "cache")
    pytest = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0"]
    command = shlex.join([*pytest, "-p", "no:cacheprovider", *room.tests])
    timeout = _time_unharmed(command)
    print(
        f"{len(specs)} faults can be planted; {len(chosen)} are. A run of the tests takes "
        f"{timeout:.0f} s.",
        flush=True,
    )
    copies: multiprocessing.Queue = multiprocessing.Manager().Queue()
    for i in range(args.processes):
        copies.put(str(_copy_project(folder / f"copy_{i}")))
    with concurrent.futures.ProcessPoolExecutor(
        args.processes, initializer=_enter, initargs=(copies,)
    ) as pool:
        waiting = [pool.submit(_plant, s, command, 5 * timeout + 30) for s in chosen]
        done = []
        for future in concurrent.futures.as_completed(waiting):
            done.append(future.result())
            print("." if done[-1].is_killed else "S", end="", flush=True)
    print()
    return done


def _time_unharmed(command: str) -> float:
    """Returns the seconds that the tests take; fills the cache of compiled programs."""
    subprocess.run(shlex.split(command), cwd=_ROOT, check=True, env=_env(_ROOT))
    start = time.monotonic()
    subprocess.run(shlex.split(command), cwd=_ROOT, check=True, env=_env(_ROOT))
    return time.monotonic() - start


def _copy_project(folder: pathlib.Path) -> pathlib.Path:
    ignored = shutil.ignore_patterns("__pycache__")
    folder.mkdir()
    for name in _KEPT:
        source = _ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    return folder


def _enter(copies: multiprocessing.Queue) -> None:
    """Makes a copy of the project the home of this process."""
    folder = pathlib.Path(copies.get())
    os.chdir(folder)
    os.environ.update(_env(folder))


def _env(folder: pathlib.Path) -> dict[str, str]:
    # Mutated and original files may have the same time stamp: nothing may be cached.
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def _plant(
    spec: work_item.MutationSpec, command: str, timeout: float
) -> work_item.WorkResult:
    file = pathlib.Path(spec.module_path).relative_to(_ROOT)
    here = work_item.MutationSpec(
        module_path=file,
        operator_name=spec.operator_name,
        occurrence=spec.occurrence,
        start_pos=spec.start_pos,
        end_pos=spec.end_pos,
    )
    return mutating.mutate_and_test([here], command, timeout)


if __name__ == "__main__":
    sys.exit(main())
