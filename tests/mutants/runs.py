"""Runs tests in copies of the project, in processes that have imported the libraries.

Importing JAX, scikit-learn and the like takes longer than most tests. One process imports
them, once; every run is a fork of it, which imports the project itself.
"""

from __future__ import annotations

import compileall
import contextlib
import importlib.util
import multiprocessing
import os
import pathlib
import py_compile
import shutil
import sys
import time

import pytest

# What tests and project import, as far as it is installed, and nothing of the project.
_LIBRARIES = (
    *("jax", "jax.numpy", "flax.linen", "flax.struct", "optax", "grain", "einops"),
    *("orbax.checkpoint", "ml_collections", "etils.epath", "jaxtyping", "hypothesis"),
    *("scipy.linalg", "scipy.special", "sklearn.metrics", "skimage.metrics"),
    *("sacrebleu.metrics", "rouge_score.rouge_scorer", "rapidfuzz.distance"),
    *("PIL.Image", "pytest", "rich.console"),
)
_KEPT = ("kauldron", "configs", "examples", "tests", "docs", "pyproject.toml")
_OUTPUT = "output.txt"


def start_server() -> None:
    """Chooses what the process that runs are forked from imports, before the first run."""
    # How tests set up JAX: it reads the environment when it is imported.
    importlib.import_module("tests.conftest")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([x for x in _LIBRARIES if _is_installed(x)])


def copy_project(source: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Copies what tests need; returns the folder."""
    folder.mkdir()
    for name in _KEPT:
        if (source / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source / name, folder / name, ignore=ignored)
        else:
            shutil.copy(source / name, folder / name)
    # A faulty file may have the time stamp and the size of the right one.
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(folder / "kauldron", quiet=1, invalidation_mode=mode)
    return folder


def passes(
    folder: pathlib.Path, tests: tuple[str, ...], *, timeout: float | None = None
) -> tuple[bool, float]:
    """Returns whether tests pass in a copy of the project in time, and the seconds."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_run, args=(folder, tests))
    start = time.monotonic()
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode == 0, time.monotonic() - start


def output_of(folder: pathlib.Path) -> str:
    """Returns what the last run in a copy printed."""
    return (folder / _OUTPUT).read_text(encoding="utf-8", errors="replace")


def _run(folder: pathlib.Path, tests: tuple[str, ...]) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] in ("tests", "kauldron"):
            del sys.modules[name]
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = False  # pytest keeps the tests that it has compiled
    options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
    # Of plugins that are imported already.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    with (folder / _OUTPUT).open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.exit(int(pytest.main([*options, *tests])))


def _is_installed(name: str) -> bool:
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.util.find_spec(name) is not None
    return False
