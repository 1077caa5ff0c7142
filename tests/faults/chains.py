"""A chain: one run, killed and started again until it is done."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import pathlib
import random
import re
import signal

import numpy as np

from tests.faults import killers, nursery, runs


@dataclasses.dataclass
class Outcome:
    """What became of a chain.

    Attributes:
      name: Name of the run.
      hits: Phase -> how many kills hit it.
      misses: How many kills were aimed, but the run was over before.
      problems: Whatever should not have been.
    """

    name: str
    hits: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    misses: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Hashes of everything that a run leaves that must not depend on kills."""

    state: str
    items: str
    metrics: str


def fingerprint(workdir: pathlib.Path) -> Fingerprint:
    """Returns the hashes of a finished run, from its files alone."""
    step_dir = workdir / "checkpoints" / f"ckpt_{runs.NUM_STEPS}"
    items = {
        path.parent.name: json.loads(path.read_text())
        for path in sorted(step_dir.glob("*/metadata"))
        if path.parent.name not in ("chrono", "state")
    }
    return Fingerprint(
        state=_hash_arrays(step_dir / "state"),
        items=hashlib.sha256(json.dumps(items).encode()).hexdigest(),
        metrics=hashlib.sha256((workdir / "metrics.jsonl").read_bytes()).hexdigest(),
    )


def read_arrays(item_dir: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns path -> array of an item of a checkpoint, read with plain Orbax."""
    import jax
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.metadata(item_dir).item_metadata.tree
        restore_args = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree
        )
        arrays = checkpointer.restore(item_dir, restore_args=restore_args)
    leaves = jax.tree_util.tree_leaves_with_path(arrays)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def _hash_arrays(item_dir: pathlib.Path) -> str:
    digest = hashlib.sha256()
    for path, array in read_arrays(item_dir).items():
        digest.update(f"{path} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def complete_steps(workdir: pathlib.Path) -> list[int]:
    """Returns the steps whose checkpoints are complete."""
    names = [p.name for p in (workdir / "checkpoints").glob("ckpt_*")]
    return sorted(int(n[5:]) for n in names if re.fullmatch(r"ckpt_\d+", n))


def run_uninterrupted(
    children: nursery.Nursery | nursery.Together, name: str, workdir: pathlib.Path
) -> Fingerprint:
    """Runs without a kill; returns what all chains must end with."""
    answer = children.run(name=name, workdir=str(workdir))
    assert answer["exit"] == 0, answer["output"]
    return fingerprint(workdir)


def run_chain(
    children: nursery.Nursery | nursery.Together,
    name: str,
    workdir: pathlib.Path,
    *,
    expected: Fingerprint,
    phases: list[str],
    rng: random.Random,
) -> Outcome:
    """Kills a run once per phase given, then lets it end, and looks at the result."""
    outcome = Outcome(name)
    steps = sorted(rng.randrange(runs.NUM_STEPS) for _ in phases)
    report = workdir.with_name(workdir.name + "-hit")
    for phase, step in zip(rng.sample(phases, len(phases)), steps, strict=True):
        kill = killers.draw(rng, phase, step)
        report.write_text("")
        _attempt(children, name, workdir, outcome, kill, report)
    _attempt(children, name, workdir, outcome, None, report)
    found = fingerprint(workdir)
    for part, want in dataclasses.asdict(expected).items():
        if getattr(found, part) != want:
            outcome.problems.append(f"{part} differs from the uninterrupted run")
    return outcome


def _attempt(
    children: nursery.Nursery | nursery.Together,
    name: str,
    workdir: pathlib.Path,
    outcome: Outcome,
    kill: killers.Kill | None,
    report: pathlib.Path,
) -> None:
    """Starts the run once, and checks that it continues where it should."""
    committed = complete_steps(workdir)
    answer = children.run(
        name=name,
        workdir=str(workdir),
        kill=dataclasses.asdict(kill) if kill else None,
        report=str(report),
    )
    output, exit_code = answer["output"], answer["exit"]
    continued = re.search(r"at step (\d+)\.", output)
    start = int(continued[1]) if continued else None
    if (max(committed) if committed else None) != start:
        outcome.problems.append(
            f"committed were {committed}, but it started at {start}: {output[-500:]}"
        )
    if kill is not None and exit_code == -signal.SIGKILL:
        outcome.hits[report.read_text()] += 1
    elif exit_code != 0:
        outcome.problems.append(f"ended with {exit_code}: {output[-2000:]}")
    elif kill is not None:
        outcome.misses += 1
