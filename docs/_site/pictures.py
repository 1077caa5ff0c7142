"""Draws the pictures of the documentation again, from real runs: `make pictures`."""

from __future__ import annotations

import json
import pathlib
import tempfile
from typing import Any

import diagrams
import numpy as np
from PIL import Image

from examples import (
    digits_autoencoder,
    digits_classifier,
    digits_graph,
    digits_sharded,
)
from kauldron import kd, konfig

_DOCS = pathlib.Path(__file__).parents[1]


def main() -> None:
    """Draws all of them."""
    for name, draw in diagrams.ALL.items():
        (_DOCS / f"{name}.svg").write_text(draw().svg(), "utf-8")
    kd.inspect.draw_model_of(konfig.resolve(digits_graph.get_config())).save(
        _DOCS / "graph.svg"
    )
    sharded = kd.inspect.sharding_report(digits_sharded.get_config(), num_devices=8)
    sharded.picture().save(_DOCS / "placement.svg")
    with tempfile.TemporaryDirectory() as folder:
        _draw_classifier(folder)
    with tempfile.TemporaryDirectory() as folder:
        _draw_autoencoder(folder)
    for path in _DOCS.glob("*.svg"):
        _follow_the_scheme(path)


def _draw_classifier(folder: str) -> None:
    """Trains the classifier of digits, and draws what there is to see of it."""
    cfg = digits_classifier.get_config()
    cfg.log_metrics_every = 10
    cfg.evals.eval.run[0] = 50
    cfg.checkpointer = None
    cfg.workdir = folder
    trainer = konfig.resolve(cfg)
    state, _ = trainer.train()
    kd.inspect.get_connection_graph(trainer).save(_DOCS / "keys_of_a_step.svg")
    _losses(folder).save(_DOCS / "training_run.svg")
    kd.inspect.plot_schedules(trainer.schedules, trainer.num_train_steps).save(
        _DOCS / "schedule.svg"
    )
    [batch] = trainer.train_ds.take(1)
    kd.data.batch_picture(batch).save(_DOCS / "batch.png")
    worst = kd.inspect.largest_losses(trainer, state, num=8)
    images = np.stack([example.batch["image"] for example in worst])
    kd.data.batch_picture({"image": images}).save(_DOCS / "worst.png")
    confusion = kd.summaries.ConfusionMatrix(
        logits="preds.logits", labels="batch.label", normalize="true"
    )
    _save(_of_evaluation(trainer, state, [confusion]), _DOCS / "confusion.png")


def _draw_autoencoder(folder: str) -> None:
    """Trains the autoencoder of digits, and draws digits above what it makes of them."""
    cfg = digits_autoencoder.get_config()
    cfg.checkpointer, cfg.workdir = None, folder
    trainer = konfig.resolve(cfg)
    state, _ = trainer.train()
    rows = [
        kd.summaries.ShowImages(images=key, num_images=8)
        for key in ("batch.image", "preds.image")
    ]
    _save(_of_evaluation(trainer, state, rows), _DOCS / "autoencoder.png")


def _of_evaluation(trainer: Any, state: Any, summaries: list[Any]) -> list[np.ndarray]:
    """Returns the pictures that summaries make of the test set."""
    shown = {f"{i}": summary for i, summary in enumerate(summaries)}
    evaluator = trainer.evals["eval"].replace(metrics={}, summaries=shown)
    trainer = trainer.replace(evals={"eval": evaluator})
    aux = trainer.evals["eval"].evaluate(state, step=int(state.step))
    values = aux.compute().summary_values
    return [values[name] for name in sorted(values)]


def _save(rows: list[np.ndarray], path: pathlib.Path) -> None:
    """Writes rows of images `f32[n h w c]`, a line apart; small ones are magnified."""
    joined = [np.concatenate([*row], axis=1) for row in rows]
    line = np.ones_like(joined[0][:1])
    pixels = np.concatenate([x for row in joined for x in (line, row)][1:])
    scale = max(1, -(-80 * len(rows) // len(pixels)))
    pixels = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
    pixels = np.rint(255 * pixels.clip(0, 1)).astype(np.uint8)
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(path)


def _losses(folder: str) -> kd.inspect.Picture:
    """Returns the losses of a run as curves."""
    text = (pathlib.Path(folder) / "metrics.jsonl").read_text()
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for record in map(json.loads, text.splitlines()):
        if "losses/total" in record:
            steps, losses = curves.setdefault(record["collection"], ([], []))
            steps.append(record["step"])
            losses.append(record["losses/total"])
    return kd.inspect.plot_lines(curves, title="loss of examples/digits_classifier.py")


def _follow_the_scheme(path: pathlib.Path) -> None:
    """Makes a picture dark where the reader's system is."""
    text = path.read_text("utf-8")
    if diagrams.DARK not in text:
        head, end, body = text.partition(">\n")
        path.write_text(f"{head}{end}{diagrams.DARK}{body}", "utf-8")


if __name__ == "__main__":
    main()
