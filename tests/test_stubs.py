"""Editors and type checkers see what lazy rooms offer: pyright is asked itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import write_stubs

_PROGRAM = """
from kauldron import konfig

with konfig.imports():
    import optax
    from kauldron import kd


def get_config():
    cfg = kd.train.Trainer()
    cfg.model = kd.nn.Vit
    reveal_type(cfg.seed)
    reveal_type(kd.losses.L2)
    reveal_type(kd.nn.Vit)
    reveal_type(kd.data.Cast)
    reveal_type(kd.inspect.AttentionMaps)
    reveal_type(kd.apps.App)
    reveal_type(kd.tracking.Event)
    reveal_type(kd.volumes.Image)
    reveal_type(kd.lm.Tokenizer)
    reveal_type(kd.serve.Engine)
    reveal_type(optax.adam)
    cfg.train_losses = {"l2": kd.losses.L22()}
    return cfg


def look(trainer: kd.train.Trainer):
    reveal_type(kd.inspect.profile_step(trainer).step_ms)
    reveal_type(kd.inspect.attention_maps(trainer)["layer"].labels)
    reveal_type(kd.inspect.step_memory(trainer))
    reveal_type(kd.inspect.replay(trainer).origin)
    kd.inspect.attention_maps(trainer, exmple=3)
"""


def test_stubs_are_those_of_the_tables():
    for path, text in write_stubs.stubs().items():
        assert path.exists() and path.read_text() == text, (
            "Write them again: make stubs"
        )
    written = {p.resolve() for p in (write_stubs.ROOT / "kauldron").rglob("*.pyi")}
    others = {write_stubs.ROOT / "kauldron/ktyping/_array_types.pyi"}
    assert written == {*write_stubs.stubs(), *others}


@pytest.mark.slow
def test_pyright_knows_types_inside_of_imports_and_through_kd(tmp_path):
    config = tmp_path / "config.py"
    config.write_text(_PROGRAM)
    result = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(config)],
        cwd=write_stubs.ROOT,
        capture_output=True,
        text=True,
    )
    told = result.stdout
    for name, kind in (
        ("cfg.seed", "int"),
        ("kd.losses.L2", "type[L2]"),
        ("kd.nn.Vit", "type[Vit]"),
        ("kd.data.Cast", "type[Cast]"),
        ("kd.inspect.AttentionMaps", "type[AttentionMaps]"),
        ("kd.apps.App", "type[App]"),
        ("kd.tracking.Event", "type[Event]"),
        ("kd.volumes.Image", "type[Image]"),
        ("kd.lm.Tokenizer", "type[Tokenizer]"),
        ("kd.serve.Engine", "type[Engine]"),
        ("kd.inspect.profile_step(trainer).step_ms", "float"),
        ('kd.inspect.attention_maps(trainer)["layer"].labels', "tuple[str, ...]"),
        ("kd.inspect.step_memory(trainer)", "Sections"),
        ("kd.inspect.replay(trainer).origin", "str | None"),
    ):
        assert f'Type of "{name}" is "{kind}"' in told, told
    assert 'Type of "optax.adam" is "(learning_rate: ' in told, told
    assert '"L22" is not a known attribute of module "kauldron.losses"' in told
    assert 'No parameter named "exmple"' in told
    assert told.count(" error:") == 2, told
