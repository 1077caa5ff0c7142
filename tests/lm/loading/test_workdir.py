"""The workdir of a run is a model: trained from a folder, it writes text."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from absl import flags

from kauldron import kd
from kauldron.cli import lm, train
from tests.lm import small_model

_CONFIG = """
from kauldron import konfig

with konfig.imports():
    import optax
    from kauldron import kd

def get_config():
    cfg = kd.train.Trainer()
    cfg.seed = 0
    cfg.train_ds = kd.lm.JsonLines(
        path="{lines}",
        transforms=[
            kd.lm.Tokenize(
                key="text", tokenizer=kd.lm.Tokenizer.from_folder("{folder}")
            ),
            kd.lm.Pack(length=16),
        ],
        batch_size=8,
        shuffle=False,
    )
    cfg.model = kd.lm.published_decoder("{folder}")
    cfg.init_transform = kd.lm.PublishedWeights("{folder}")
    cfg.train_losses = {{
        "nats": kd.lm.TokenCrossEntropy(
            logits="preds.logits", targets="batch.targets", mask="batch.loss_mask"
        )
    }}
    cfg.optimizer = optax.sgd(0.0)
    cfg.num_train_steps = 1
    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=1)
    return cfg
"""


def _run(command, *args):
    return command(["kauldron", *args], flag_values=flags.FlagValues())


@pytest.mark.slow
def test_a_run_is_loaded_from_its_workdir_with_the_tokenizer_of_its_data(
    tmp_path, capsys, monkeypatch
):
    # A run of one's own is trusted, and says so by its signature.
    monkeypatch.setenv("KAULDRON_SIGN_RUNS", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    folder = small_model.save(tmp_path / "small")
    lines = tmp_path / "texts.jsonl"
    lines.write_text(f'{{"text": "{small_model.TEXT}"}}\n' * 8)
    config = tmp_path / "config.py"
    config.write_text(_CONFIG.format(lines=lines, folder=folder))
    workdir = tmp_path / "run"
    assert _run(train.main, f"--cfg={config}", f"--cfg.workdir={workdir}") == 0
    model, params, tokenizer = kd.lm.load(workdir)
    assert tokenizer == small_model.tokenizer()
    # A learning rate of 0: the weights are those that it began with.
    expected = small_model.params(small_model.model())
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    capsys.readouterr()
    flag = "--prompt=To be"
    assert _run(lm.generate, f"--model={workdir}", flag, "--max_tokens=4") == 0
    from_run = capsys.readouterr().out
    assert _run(lm.generate, f"--model={folder}", flag, "--max_tokens=4") == 0
    assert capsys.readouterr().out == from_run
    assert model.vocab_size == tokenizer.num_tokens


def test_a_workdir_is_no_published_model(tmp_path):
    (tmp_path / "config.py").write_text("")
    with pytest.raises(kd.lm.ModelError, match="is the workdir of a run"):
        kd.lm.find(tmp_path)
