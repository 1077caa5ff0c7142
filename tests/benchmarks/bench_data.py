"""Speed of the data pipeline, as ratios to what one could write by hand.

make bench

All sides take turns. A pipeline that works ahead fills its buffers while others have their
turn, and is not measured until it has given away what it made meanwhile.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import time

import numpy as np
import pytest

from kauldron import kd
from tests.benchmarks import clocks
from tests.benchmarks import figures as figures_lib

pytestmark = pytest.mark.bench

NUM_EXAMPLES = 20_000
BATCH_SIZE = 256


def _secs_of_a_batch(make_batches, num_batches, *, num_warmup=10):
    batches = make_batches()
    for _ in range(num_warmup):
        next(batches)
    _, secs = clocks.measured(lambda: [next(batches) for _ in range(num_batches)])
    if hasattr(batches, "close"):
        batches.close()
    return secs.per(num_batches)


def _race(contestants, num_batches):
    """Returns the seconds of a batch of each, in rounds that take turns."""
    return clocks.in_turn(
        {
            name: lambda name=name, make=make: _secs_of_a_batch(make, num_batches[name])
            for name, make in contestants.items()
        }
    )


def _fastest(secs, clock="wall"):
    """Returns the name of what is fastest of all but ours."""
    others = [name for name in secs if name != "ours"]
    return min(others, key=lambda n: _median_ms(secs[n], clock))


def _median_ms(rounds, clock="wall"):
    return 1e3 * getattr(clocks.medians(rounds), clock)


def _digits():
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (NUM_EXAMPLES, 28, 28, 1), dtype=np.uint8),
        "label": rng.integers(0, 10, NUM_EXAMPLES),
    }


def test_in_memory_images_are_gathered_at_half_the_speed_of_numpy(figures):
    import grain

    arrays = _digits()
    images, labels = arrays["image"], arrays["label"]

    def bare_numpy():
        rng = np.random.default_rng(0)
        while True:
            order = rng.permutation(NUM_EXAMPLES)
            for start in range(0, NUM_EXAMPLES - BATCH_SIZE + 1, BATCH_SIZE):
                rows = order[start : start + BATCH_SIZE]
                image = images[rows].astype(np.float32)
                image *= np.float32(1 / 255)
                yield {"image": image, "label": labels[rows]}

    def ours():
        return iter(
            kd.data.InMemoryPipeline(
                loader=lambda: arrays,
                shuffle=True,
                batch_size=BATCH_SIZE,
                seed=0,
                transforms=[kd.data.ValueRange(key="image", vrange=(0, 1))],
            )
        )

    def normalize(record):
        return {**record, "image": record["image"].astype(np.float32) / 255}

    class Records:
        def __len__(self):
            return NUM_EXAMPLES

        def __getitem__(self, index):
            return {"image": images[index], "label": labels[index]}

    def per_record_grain():
        dataset = grain.MapDataset.source(Records()).seed(0).shuffle().repeat()
        dataset = dataset.map(normalize).batch(BATCH_SIZE, drop_remainder=True)
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
        return iter(dataset.to_iter_dataset(options))

    def our_records():
        return iter(
            kd.data.py.DataSource(
                Records(),
                shuffle=True,
                batch_size=BATCH_SIZE,
                seed=0,
                transforms=[kd.data.ValueRange(key="image", vrange=(0, 1))],
            )
        )

    contestants = {
        "numpy": bare_numpy,
        "ours": ours,
        "our_records": our_records,
        "grain": per_record_grain,
    }
    num_batches = {"numpy": 1000, "ours": 1000, "our_records": 300, "grain": 60}
    secs = _race(contestants, num_batches)
    what = "images in memory, shuffled and in floats"
    for name, told, least in (
        ("numpy", "a bare loop of NumPy", 0.5),
        ("grain", "grain, one record after the other", 10),
    ):
        figures.ratio(
            f"{what}, against {told}: speed",
            secs[name],
            secs["ours"],
            against=f"its speed ({_median_ms(secs[name]):.2g} ms a batch)",
            budget=least,
            is_more_better=True,
        )


def _photos():
    rng = np.random.default_rng(0)
    return [
        {"image": rng.integers(0, 256, (72, 72, 3), dtype=np.uint8), "label": i % 10}
        for i in range(1024)
    ]


def augment(image, rng):
    """Crops, flips, jitters and normalises: about 0.1 ms of NumPy an image."""
    top, left = rng.integers(0, 9, 2)
    image = image[top : top + 64, left : left + 64]
    if rng.random() < 0.5:
        image = image[:, ::-1]
    image = image.astype(np.float32) * np.float32(1 / 255)
    image = (image - 0.5) * np.float32(rng.uniform(0.8, 1.2)) + 0.5
    return image.clip(0, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augment(kd.data.py.ElementWiseRandomTransform):
    def random_map_element(self, element, rng):
        return augment(element, rng)


def _grain_photos(*, num_threads, num_workers):
    import grain

    def augment_record(record, rng):
        return {**record, "image": augment(record["image"], rng)}

    dataset = grain.MapDataset.source(_photos()).seed(0).shuffle().repeat()
    dataset = dataset.random_map(augment_record).batch(64, drop_remainder=True)
    options = grain.ReadOptions(
        num_threads=num_threads, prefetch_buffer_size=4 if num_threads else 0
    )
    dataset = dataset.to_iter_dataset(options)
    if num_workers:
        from absl import flags

        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        processes = grain.MultiprocessingOptions(
            num_workers=num_workers, per_worker_buffer_size=2
        )
        dataset = dataset.mp_prefetch(processes)
    return iter(dataset)


def _our_photos(transform, **kwargs):
    return iter(
        kd.data.py.DataSource(
            _photos(),
            shuffle=True,
            batch_size=64,
            seed=0,
            transforms=[transform],
            **kwargs,
        )
    )


def test_own_augmentation_runs_as_fast_as_in_hand_tuned_grain(figures):
    contestants = {
        "ours": lambda: _our_photos(Augment(key="image")),
        **{
            f"grain_{n}_threads": lambda n=n: _grain_photos(
                num_threads=n, num_workers=0
            )
            for n in (0, 1, 2)
        },
    }
    secs = _race(contestants, dict.fromkeys(contestants, 60))
    fastest = _fastest(secs)
    figures.ratio(
        "pictures with a transform of Python, no workers: speed",
        secs[fastest],
        secs["ours"],
        against=f"grain's best of 0 to 2 threads ({_median_ms(secs[fastest]):.2g} ms a batch)",
        budget=0.95,
        is_more_better=True,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_run_faster_than_those_of_grain(figures):
    """By processor time of all processes: on two cores, that is what limits both."""
    contestants = {
        "ours": lambda: _our_photos(
            Augment(key="image"), num_workers=2, per_worker_buffer_size=2
        ),
        **{
            f"grain_{n}_threads": lambda n=n: _grain_photos(
                num_threads=n, num_workers=2
            )
            for n in (0, 1)
        },
    }
    running = {name: make() for name, make in contestants.items()}
    rounds = {name: [] for name in contestants}
    for i in range(8):
        for name in sorted(contestants, reverse=bool(i % 2)):
            for _ in itertools.islice(running[name], 20):
                pass  # made while the others had their turn
            start, used = time.perf_counter(), clocks.of_tree()
            for _ in itertools.islice(running[name], 100):
                pass
            secs = clocks.Secs(time.perf_counter() - start, clocks.of_tree() - used)
            if i:  # the first warms up
                rounds[name].append(secs.per(100))
    for batches in running.values():
        batches.close()
    fastest = _fastest(rounds, "processor")
    figures.ratio(
        "pictures with a transform of Python, two workers: speed",
        rounds[fastest],
        rounds["ours"],
        against="grain's best of 0 and 1 threads with two workers "
        f"({_median_ms(rounds[fastest]):.2g} ms a batch)",
        budget=1.3,
        is_more_better=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arithmetic(kd.data.ElementWiseTransform):
    """Spends CPU time in NumPy, which leaves Python to other threads."""

    num_rounds: int

    def map_element(self, element):
        for _ in range(self.num_rounds):
            element = np.sqrt(element + 1)
        return element


def _photos_on_device(num_rounds):
    return kd.data.py.DataSource(
        {"x": np.zeros((256, 128, 128, 3), np.float32)},
        shuffle=True,
        batch_size=8,
        seed=0,
        transforms=[Arithmetic(key="x", num_rounds=num_rounds)],
    )


def _ms_per_batch(ds, num_batches=30):
    with iter(ds) as batches:
        return 1e3 * _secs_of_a_batch(lambda: batches, num_batches).wall


def _ms_per_step(batches, *, num_steps=100):
    import jax
    import jax.numpy as jnp

    def sleep(x):
        time.sleep(5e-3)  # stands in for an accelerator: the CPU is free
        return x

    @jax.jit
    def step(state, batch):
        x = state + batch["x"][0, 0, 0, 0]
        return 0 * jax.pure_callback(sleep, jax.ShapeDtypeStruct((), x.dtype), x)

    state = jnp.zeros(())
    for batch in itertools.islice(batches, 20):
        state = step(state, batch)
    state.block_until_ready()
    begin = time.perf_counter()
    for batch in itertools.islice(batches, num_steps):
        state = step(state, batch)
    state.block_until_ready()
    return (time.perf_counter() - begin) / num_steps * 1e3


def test_loop_hides_the_pipeline_behind_the_device(figures):
    import jax

    one_device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    num_rounds = max(1, round(4 / (_ms_per_batch(_photos_on_device(20)) / 20)))
    ds = _photos_on_device(num_rounds)
    pipeline_ms = _ms_per_batch(ds)
    with iter(ds.device_put(one_device)) as batches:
        same_batch = next(batches)
        # The stand-in for a step of 5 ms takes more itself: the callback needs a thread.
        alone = itertools.repeat(same_batch)
        pairs = [(_ms_per_step(batches), _ms_per_step(alone)) for _ in range(7)]
    alone_ms = clocks.spread(ms for _, ms in pairs).median
    figures.number(
        f"steps that wait for a device, with a pipeline of {pipeline_ms:.2g} ms a batch",
        [with_pipeline / without for with_pipeline, without in pairs],
        figures_lib.TIMES,
        against=f"the same steps with one batch ({alone_ms:.2g} ms)",
        budget=1.1,
    )
