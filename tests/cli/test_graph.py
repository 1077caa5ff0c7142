"""`kauldron run graph`: the model of a config as a picture."""

from __future__ import annotations

import sys

from kauldron.cli import main, run
from tests.cli.conftest import ROOT

CLASSIFIER = "--cfg=examples/digits_classifier.py"
_CONFIG = """
from examples import digits_classifier
from kauldron import konfig

with konfig.imports():
    from flax import linen as nn
    from kauldron import kd


def get_config():
    cfg = digits_classifier.get_config()
    cfg.model = kd.nn.Graph(
        nodes={
            "pool": kd.nn.Node(kd.nn.Reduce("b h w c -> b c", "mean"), "batch.image"),
            "head": kd.nn.Node(nn.Dense(10), inputs="pool"),
        },
        outputs={"logits": "head"},
    )
    return cfg
"""


def test_model_is_drawn_with_overrides(call, tmp_path):
    out = tmp_path / "graph.svg"
    change = "--cfg.aux.num_features=8"
    code, printed, err = call(run.graph, CLASSIFIER, change, f"--out={out}")
    assert code == 0, err
    assert printed == f"The model is drawn in {out}.\n"
    assert "f32[64 8 8 1] → f32[64 8 8 8]" in out.read_text()


def test_picture_in_the_docs_is_that_of_the_example(call):
    code, printed, err = call(run.graph, "--cfg=examples/digits_graph.py", "--out=-")
    assert code == 0, err
    # Pictures of the documentation have one more line, for a dark page.
    lines = (ROOT / "docs" / "graph.svg").read_text().splitlines(keepends=True)
    shown = "".join(x for x in lines if "prefers-color-scheme" not in x)
    assert printed == shown, "Draw it: make pictures"


def test_graph_is_printed_with_its_keys(call, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(_CONFIG)
    code, printed, err = call(run.graph, f"--cfg={config}", "--out=-")
    assert code == 0, err
    assert printed.startswith("<svg ")
    assert printed.endswith("</svg>\n")
    for text in ("batch.image", ">head<", "f32[64 10]", "preds.logits"):
        assert text in printed

    def mistake(change):
        code, _, err = call(run.graph, f"--cfg={config}", "--out=-", change)
        assert code == 2
        return err

    err = mistake("--cfg.model.nodes.pool.inputs=batch.imag")
    assert "cfg.model.nodes.pool.inputs = 'batch.imag'" in err
    assert "Did you mean 'batch.image'" in err
    assert "Did you mean 'pool'" in mistake("--cfg.model.nodes.head.inputs=pol")
    assert "cfg.model: " in mistake("--cfg.model.nodes.pool.module.pattern='b c -> b'")


def test_what_cannot_be_written_is_told(call, tmp_path):
    code, _, err = call(run.graph, CLASSIFIER)
    assert code == 2
    assert "--out=graph.svg" in err
    code, _, err = call(run.graph, CLASSIFIER, "--out=graph.png")
    assert code == 2
    assert "Pictures are written as .svg: got 'graph.png'" in err
    code, _, err = call(run.graph, CLASSIFIER, f"--out={tmp_path}/nodir/graph.svg")
    assert code == 2
    assert "There is no folder" in err and "nodir' for 'graph.svg'" in err
    code, _, err = call(run.graph, CLASSIFIER, "--out=")
    assert code == 2
    assert "`--out`: no value is given." in err
    target = tmp_path / "a_file"
    target.write_text("")
    code, _, err = call(run.graph, CLASSIFIER, f"--out={target}/graph.svg")
    assert code == 1
    assert "could not be written" in err
    assert "Not a directory" in err
    assert "Traceback" not in err


def test_help_says_what_it_draws(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["kauldron", "run", "graph", "--help"])
    assert main.main() == 0
    printed = capsys.readouterr().out
    assert "Draw the model" in printed
    assert "kauldron run graph --cfg=examples/digits_classifier.py --out=graph.svg" in (
        printed
    )
