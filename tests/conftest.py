"""Settings of all tests: CPU, eight simulated devices, the project importable.

Benchmarks set `KAULDRON_TEST_DEVICES=1`: simulated devices share the cores.
"""

from __future__ import annotations

import atexit
import functools
import gc
import itertools
import os
import pathlib
import shutil
import sys
import tempfile

import hypothesis
import pytest

from tests import kept_compilations, quick_flags

_FLAG = "--xla_force_host_platform_device_count"
if _FLAG not in os.environ.get("XLA_FLAGS", ""):
    num_devices = os.environ.get("KAULDRON_TEST_DEVICES", "8")
    flags = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}={num_devices}"
    os.environ["XLA_FLAGS"] = flags.strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Runs leave the user's cache alone.
os.environ.setdefault("KAULDRON_COMPILATION_CACHE", "0")
# No key is made in the user's folder; a test of signatures has a folder of its own.
os.environ.setdefault("KAULDRON_SIGN_RUNS", "0")
# What pytest has made of the tests, and what other processes import, is compiled once.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# The annotations of the package are checked, in other processes that tests start too.
# Benchmarks measure what users have.
if "KAULDRON_TEST_DEVICES" not in os.environ:
    os.environ.setdefault("KAULDRON_TYPECHECKING", "all")
# The same small programs are needed by many tests: see `_share_compilations`. Benchmarks
# compile anew.
if "KAULDRON_TEST_DEVICES" not in os.environ:
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    # Those of GPUs: their folders would be part of the name of each program.
    os.environ["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"


def pytest_configure(config):
    """Fast tests compile in a fraction of the time, to slower programs.

    What runs for long (`slow`, `smoke`, benchmarks), and a GPU, have what users have.
    """
    if "KAULDRON_TEST_DEVICES" not in os.environ:
        _share_compilations(config)
    if "not slow" in config.option.markexpr and os.environ["JAX_PLATFORMS"] == "cpu":
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        # XLA reads them when the first array is made; workers inherit them.
        if (flags := quick_flags.of_xla()) not in os.environ["XLA_FLAGS"]:
            os.environ["XLA_FLAGS"] += f" {flags}"


def _share_compilations(config):
    """Programs are compiled once, for all processes of a session, and for the next ones.

    `--cache-clear` compiles anew; `-p no:cacheprovider` neither finds nor leaves anything.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return  # of the user, or of the process that started this worker
    if (cache := getattr(config, "cache", None)) is None:
        folder = tempfile.mkdtemp(prefix="kauldron-test-cache-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    else:
        kept = cache.mkdir("compilations")
        folder = kept_compilations.open_session(kept)
        atexit.register(kept_compilations.close_session, folder, kept)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What the tests of a session import is no garbage: it is looked at no more."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)
        gc.enable()
        if "jax" in sys.modules and os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS"):
            _keep_mlir_contexts()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """What the tests of a file have left (programs, caches) is looked at once."""
    try:
        return (yield)
    finally:
        if nextitem is None or nextitem.path != item.path:
            gc.collect()
            gc.freeze()


def _keep_mlir_contexts():
    """Programs are lowered in one context after the other, not each in its own.

    To fill a context with all operations takes as long as to lower a small program.
    """
    from jax._src.interpreters import mlir  # there is no public way

    make = getattr(mlir, "make_ir_context", None)
    if make is None:
        return
    # What a context was told stays in it: each serves for some hundred programs.
    numbers = itertools.count()
    kept = functools.lru_cache(maxsize=1)(lambda index: make())
    mlir.make_ir_context = lambda: kept(next(numbers) // 200)


PROJECT_ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT_ROOT))  # `examples` is not part of the package

# The first example of a property compiles: a deadline would measure that.
hypothesis.settings.register_profile("kauldron", deadline=None)
hypothesis.settings.load_profile("kauldron")


# Room -> whether dtypes are strict as well. Optimizers of optax mix them
# (`1 - decay**count`); above the step, models and tests are written as users write them.
_STRICT_ROOMS = {
    **dict.fromkeys(("losses", "metrics", "random", "summaries"), True),
    **dict.fromkeys(("modules", "optim", "sharding"), False),
}


@pytest.fixture(autouse=True)
def strict_promotion(request):
    """Nothing is broadcast over axes that are not there, no dtype is changed unsaid."""
    room = request.path.relative_to(PROJECT_ROOT / "tests").parts[0]
    if room not in _STRICT_ROOMS:
        yield
        return
    import jax

    dtypes = "strict" if _STRICT_ROOMS[room] else "standard"
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion(dtypes):
        yield


@pytest.fixture
def training(strict_promotion):
    """For tests that train in a room with strict dtypes: an optimizer may mix them."""
    import jax

    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def unchecked():
    """The package as users run it: its functions themselves say what does not fit."""
    from kauldron import ktyping as kt

    with kt.Config(typechecking_enabled=False):
        yield


@pytest.fixture(scope="module")
def quick_compile():
    """Compiles the slow tests of a file as all fast ones are: see `pytest_configure`."""
    yield from _compiling(is_quick=True)


@pytest.fixture(scope="module")
def full_compile():
    """Compiles the tests of a file with all passes, for bits that XLA makes equal."""
    yield from _compiling(is_quick=False)


def _compiling(*, is_quick):
    import jax

    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", is_quick)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
