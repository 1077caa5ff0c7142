"""How well the decoder of `configs/python_docs.py` predicts text it has not seen."""

from __future__ import annotations

from pydoc_data import topics

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from configs import python_docs
from examples import python_docs_data
from kauldron import kd, konfig


def test_targets_are_the_bytes_that_follow():
    pieces = python_docs_data.PythonDocs(split="test", length=16, stride=16)
    first, second = pieces[0], pieces[1]
    assert bytes(first["tokens"].astype(np.uint8)) == pieces.text[:16]
    np.testing.assert_array_equal(first["targets"][:-1, 0], first["tokens"][1:])
    assert first["targets"][-1, 0] == second["tokens"][0]
    last = pieces[len(pieces) - 1]
    assert last["tokens"].shape == (16,)
    assert last["targets"].shape == (16, 1)


def test_every_topic_is_in_one_split():
    texts = [python_docs_data.PythonDocs(split=s).text for s in ("train", "test")]
    num_bytes = sum(len(text.encode()) + 2 for text in topics.topics.values())
    assert sum(len(text) + 2 for text in texts) == num_bytes


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_bits_per_byte_of_held_out_topics(tmp_path):
    cfg = python_docs.get_config()
    cfg.workdir = str(tmp_path)
    trainer = konfig.resolve(cfg)
    state, _ = trainer.train()
    # Recomputed without the evaluator, from logits.
    pieces = python_docs_data.PythonDocs(split="test")
    rows = [pieces[i] for i in range(len(pieces))]
    tokens, targets = (np.stack([r[k] for r in rows]) for k in ("tokens", "targets"))
    with kd.nn.set_train_property(False):
        preds = trainer.model.apply({"params": state.params}, jnp.asarray(tokens))
    logprobs = special.log_softmax(np.float64(preds["logits"]), axis=-1)
    nats = -np.take_along_axis(logprobs, targets, -1)
    bits = np.mean(nats) / np.log(2)
    print({"bits per byte": bits})
    assert bits < BITS
