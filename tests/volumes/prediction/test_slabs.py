"""Cases predicted slab by slab: the same numbers, in less memory."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from kauldron import kd, konfig
from kauldron.volumes.prediction import _parts
from tests.volumes.prediction import volumes_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = volumes_run.write_cases(tmp_path_factory.mktemp("cases"), num=2)
    workdir = tmp_path_factory.mktemp("runs") / "seg"
    trainer = konfig.resolve(volumes_run.get_config(root, workdir))
    state, _ = trainer.train()
    return trainer, jax.device_get(state)


def _evaluators(trainer, **changes):
    """Returns an evaluator, and the same by slabs, the outputs of which are known."""
    softmax = [kd.volumes.transforms.Softmax()]
    usual = {"key": "preds.logits", "like": "ct", "suffix": ".mha", "each": softmax}
    whole = trainer.evals["final"].replace(
        outputs={
            "seg": kd.volumes.Output(**usual, final=[kd.volumes.transforms.Argmax()]),
            "stack": kd.volumes.Output(**usual, of="stack"),
            "doubt": kd.volumes.Output(**usual, of="variance"),
            "one": kd.volumes.Output(
                **usual | {"key": "preds.logits[..., 1:]", "each": ()}
            ),
            # It has to see the volume first.
            "scaled": kd.volumes.Output(
                **usual, of="median", post=[kd.volumes.transforms.Standardize()]
            ),
        },
        metrics={
            "dice": kd.volumes.metrics.Dice(
                logits="preds.logits", labels="batch.seg", classes=(1,)
            ),
            "psnr": kd.volumes.metrics.Psnr(
                preds="preds.logits[..., :1]", targets="batch.ct", data_range=2.0
            ),
        },
        losses={},
        **changes,
    )
    return whole, whole.replace(by_slabs=True)


def _files(folder: pathlib.Path) -> dict[str, bytes]:
    files = sorted(folder.rglob("*.mha"))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.parametrize("is_ensemble", [False, True])
def test_slabs_give_the_same_files_and_values(
    trained, tmp_path, monkeypatch, is_ensemble
):
    trainer, state = trained
    monkeypatch.setattr(_parts, "_SLAB_NUMBERS", 2 * 42)  # two planes or one
    changes = {}
    if is_ensemble:
        flips = kd.volumes.augment.Flip(prob=0.5)
        noise = kd.volumes.augment.Noise(std=(0.1, 0.1))
        turn = kd.volumes.augment.Rotate(degrees=20.0)
        augment = kd.volumes.augment.Augment([flips, turn, noise], copies=2)
        changes = {"augment": augment, "num_dropouts": 2, "ensemble": (1,)}
    whole, by_slabs = _evaluators(trainer, **changes)
    values, files = [], []
    for name, evaluator in (("whole", whole), ("slabs", by_slabs)):
        folder = tmp_path / name
        aux = evaluator.replace(workdir=str(folder)).evaluate(state, 2)
        values.append(aux.compute().metric_values)
        files.append(_files(folder / "outputs" / "final" / "step_2"))
    assert len(files[0]) == 5 * 2
    assert files[0] == files[1]
    assert values[0] == values[1]


def test_what_needs_whole_cases_is_told_before_anything_is_predicted(trained):
    trainer, _ = trained
    keys = {"logits": "preds.logits", "labels": "batch.seg"}
    distances = kd.volumes.metrics.Hausdorff(**keys, classes=(1,))
    xentropy = kd.losses.SoftmaxCrossEntropyWithIntLabels(**keys)
    _, evaluator = _evaluators(trainer)
    evaluator = evaluator.replace(
        metrics={"hd": distances, **evaluator.metrics},
        losses={"x": xentropy},
        ds=dataclasses.replace(trainer.eval_ds, transforms=[kd.data.Elements(keep=[])]),
    )
    problems = evaluator.check(trainer, trainer.state_specs, field="cfg.evals['final']")
    told = [str(problem) for problem in problems]
    for words in (
        "cfg.evals['final'].metrics['hd']: Hausdorff needs whole cases",
        "cfg.evals['final'].losses['x']: SoftmaxCrossEntropyWithIntLabels needs whole",
        "cfg.evals['final'].ds: `by_slabs` reads regions",
    ):
        assert any(words in text for text in told), told
    assert not any("dice" in text or "psnr" in text for text in told)


_PREDICT = """
import dataclasses, json, sys, threading, time
from kauldron import konfig
from tests.volumes.prediction import volumes_run

root, workdir = sys.argv[1:3]
cfg = volumes_run.get_config(root, workdir)
evaluation = cfg.evals["final"]
evaluation.run.step = 1000  # not in training
evaluation.window.patch_size, evaluation.window.overlap = (16, 64, 64), 0
trainer = konfig.resolve(cfg)
state, _ = trainer.train()
cases = dataclasses.replace(trainer.eval_ds, cache="none")
evaluator = trainer.evals["final"].replace(
    losses={}, ensemble=(1, 1), by_slabs=sys.argv[3] == "slabs"
)

# Pages of mapped files count as well, unless memory is short: only what is not mapped.
def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("RssAnon")) / 1024

def run(case):
    ds = dataclasses.replace(cases, select=case)
    return evaluator.replace(ds=ds, workdir=workdir + case).evaluate(state, 2)

run("case_0")
before, peaks, is_done = anonymous(), [0.0], False

def watch():
    while not is_done:
        peaks.append(anonymous() - before)
        time.sleep(0.005)

thread = threading.Thread(target=watch)
thread.start()
aux = run("large")
is_done = True
thread.join()
print(json.dumps([max(peaks), float(aux.compute().metric_values["metrics/dice/mean"])]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_slabs_take_little_memory_whatever_members_there_are(tmp_path):
    root = volumes_run.write_cases(tmp_path / "cases", num=1)
    rng = np.random.default_rng(0)
    ct = rng.normal(size=(384, 128, 128)).astype(np.float32)
    (root / "large").mkdir()
    for name, array in (("ct", ct), ("seg", (ct > 0).astype(np.uint8))):
        kd.volumes.write(root / "large" / f"{name}.mha", kd.volumes.Image(array))
    peaks, dice = {}, {}
    for mode in ("whole", "slabs"):
        command = [sys.executable, "-c", _PREDICT, root, tmp_path / mode, mode]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[mode], dice[mode] = json.loads(done.stdout.splitlines()[-1])
    assert dice["whole"] == dice["slabs"]
    # MiB: the image has 24, what each of three members predicts 48.
    assert peaks["whole"] > 300
    # 67 to 134 were seen: what the allocator keeps for its threads varies.
    assert peaks["slabs"] < peaks["whole"] / 2
