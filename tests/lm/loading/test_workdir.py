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
    cfg.model = {model}
    cfg.init_transform = {weights}
    cfg.train_losses = {{
        "nats": kd.lm.TokenCrossEntropy(
            logits="preds.logits", targets="batch.targets", mask="batch.loss_mask"
        )
    }}
    cfg.optimizer = optax.sgd({rate})
    cfg.num_train_steps = 1
    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=1)
    return cfg
"""


def _run(command, *args):
    return command(["kauldron", *args], flag_values=flags.FlagValues())


_DECODER = 'kd.lm.published_decoder("{folder}")'
_WEIGHTS = 'kd.lm.PublishedWeights("{folder}")'
_LORA = f"kd.lm.LoRA(model={_DECODER}, rank=2, alpha=6.0)"


def _train(tmp_path, monkeypatch, *, model, weights, rate):
    """Returns the folder of a model, and the workdir of a step that begins with it."""
    # A run of one's own is trusted, and says so by its signature.
    monkeypatch.setenv("KAULDRON_SIGN_RUNS", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    folder = small_model.save(tmp_path / "small")
    lines = tmp_path / "texts.jsonl"
    lines.write_text(f'{{"text": "{small_model.TEXT}"}}\n' * 8)
    config = tmp_path / "config.py"
    parts = {"model": model, "weights": weights}
    parts = {name: part.format(folder=folder) for name, part in parts.items()}
    config.write_text(_CONFIG.format(lines=lines, folder=folder, rate=rate, **parts))
    workdir = tmp_path / "run"
    assert _run(train.main, f"--cfg={config}", f"--cfg.workdir={workdir}") == 0
    return folder, workdir


@pytest.mark.slow
def test_a_run_is_loaded_from_its_workdir_with_the_tokenizer_of_its_data(
    tmp_path, capsys, monkeypatch
):
    folder, workdir = _train(
        tmp_path, monkeypatch, model=_DECODER, weights=_WEIGHTS, rate=0.0
    )
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


@pytest.mark.slow
def test_weights_that_are_meant_for_a_base_say_how(tmp_path, capsys, monkeypatch):
    with pytest.raises(AssertionError):
        _train(tmp_path, monkeypatch, model=_LORA, weights=_WEIGHTS, rate=0.5)
    assert "they are filled by `kd.lm.BaseWeights(" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_tuned_a_model_is_loaded_with_its_updates(
    tmp_path, capsys, monkeypatch
):
    weights = f"kd.lm.BaseWeights({_WEIGHTS})"
    _, workdir = _train(tmp_path, monkeypatch, model=_LORA, weights=weights, rate=0.5)
    model, params, tokenizer = kd.lm.load(workdir)
    assert type(model) is kd.nn.CausalLM
    saved = kd.ckpts.load_arrays(workdir)
    a, b = (
        np.asarray(saved[f"params.layer_0.attention.query.kernel.{name}"], np.float64)
        for name in "ab"
    )
    assert np.abs(b).max() > 0
    before = small_model.params(small_model.model())
    kernels = [
        np.asarray(tree["layer_0"]["attention"]["query"]["kernel"], np.float64)
        for tree in (before, params)
    ]
    change = np.einsum("ir,r...->i...", a.reshape(len(a), -1), b) * 6.0 / 2
    np.testing.assert_allclose(kernels[1] - kernels[0], change, atol=1e-6)
    # A config of somebody else is not trusted: a flag says which packages are.
    (workdir / "config.signature").unlink()
    capsys.readouterr()
    flags_ = (f"--model={workdir}", "--prompt=To be", "--max_tokens=4")
    assert _run(lm.generate, *flags_) == 2
    assert "--trust=kauldron" in capsys.readouterr().err
    assert _run(lm.generate, *flags_, "--trust=kauldron") == 0
    assert capsys.readouterr().out.startswith(
        kd.lm.TextGenerator(model=model, params=params, tokenizer=tokenizer)(
            ["To be"], max_tokens=4
        )[0]
    )
