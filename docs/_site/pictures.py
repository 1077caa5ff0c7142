"""Draws the pictures of the documentation again, from real runs: `make pictures`."""

from __future__ import annotations

import json
import pathlib
import tempfile

import diagrams

from examples import digits_classifier, digits_graph, digits_sharded
from kauldron import kd, konfig

_DOCS = pathlib.Path(__file__).parents[1]


def main() -> None:
    """Draws all of them."""
    trainer = konfig.resolve(digits_classifier.get_config())
    kd.inspect.get_connection_graph(trainer).save(_DOCS / "keys_of_a_step.svg")
    kd.inspect.draw_model_of(konfig.resolve(digits_graph.get_config())).save(
        _DOCS / "graph.svg"
    )
    sharded = kd.inspect.sharding_report(digits_sharded.get_config(), num_devices=8)
    sharded.picture().save(_DOCS / "placement.svg")
    _training_run().save(_DOCS / "training_run.svg")
    for name, draw in diagrams.ALL.items():
        (_DOCS / f"{name}.svg").write_text(draw().svg(), "utf-8")
    for path in _DOCS.glob("*.svg"):
        _follow_the_scheme(path)


def _follow_the_scheme(path: pathlib.Path) -> None:
    """Makes a picture dark where the reader's system is."""
    text = path.read_text("utf-8")
    if diagrams.DARK not in text:
        head, end, body = text.partition(">\n")
        path.write_text(f"{head}{end}{diagrams.DARK}{body}", "utf-8")


def _training_run() -> kd.inspect.Picture:
    """Trains the classifier of digits, and returns its losses."""
    cfg = digits_classifier.get_config()
    cfg.log_metrics_every = 10
    cfg.evals.eval.run[0] = 50
    cfg.checkpointer = None
    with tempfile.TemporaryDirectory() as folder:
        cfg.workdir = folder
        konfig.resolve(cfg).train()
        text = (pathlib.Path(folder) / "metrics.jsonl").read_text()
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for record in map(json.loads, text.splitlines()):
        if "losses/total" in record:
            steps, losses = curves.setdefault(record["collection"], ([], []))
            steps.append(record["step"])
            losses.append(record["losses/total"])
    return kd.inspect.plot_lines(curves, title="loss of examples/digits_classifier.py")


if __name__ == "__main__":
    main()
