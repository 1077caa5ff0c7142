"""An evaluator that writes: texts reach ordinary metrics, whatever the batches."""

from __future__ import annotations

import dataclasses

import flax.struct
import jax
import numpy as np
import pytest

from kauldron import kd, kontext
from kauldron.ktyping import Array
from tests.metrics.contract import COMPILE_FAST

TEXTS = ["the sun and the moon", "a king and a fool", "the moon", "a sword"]
PROMPTS = [
    {"prompt": text, "id": i, "instructions": [{"kind": "max_words", "number": 500}]}
    for i, text in enumerate(TEXTS)
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written(kd.metrics.Metric):
    """Keeps what was written, with the problem and the sample."""

    text: kontext.Key = "preds.text"
    problem: kontext.Key = "batch.id"
    sample: kontext.Key = "batch.sample"

    @flax.struct.dataclass
    class State(kd.metrics.AutoState):
        rows: Array["*n"] = kd.metrics.concat_field()

        def compute(self):
            return np.float32(len(super().compute().rows))

        def texts(self):
            return [tuple(row) for row in super().compute().rows]

    def get_state(self, text, problem, sample):
        rows = np.empty((len(text), 3), object)
        rows[:] = list(zip(problem, sample, text, strict=True))
        return self.State(rows=rows)


@pytest.fixture(scope="module")
def trained():
    tokenizer = kd.lm.Tokenizer.train(TEXTS, 280)
    model = kd.nn.decoder(
        "llama",
        vocab_size=tokenizer.num_tokens,
        features=16,
        num_layers=1,
        num_heads=2,
        hidden_features=16,
        tokens="batch.tokens",
    )
    init = jax.jit(model.init, compiler_options=COMPILE_FAST)
    params = init(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    state = kd.train.TrainState(step=0, params=params, collections={}, opt_state=None)
    return tokenizer, model, state


def evaluator(tokenizer, model, **options):
    fields = {
        "run": kd.evals.Final(),
        "prompts": PROMPTS,
        "tokenizer": tokenizer,
        "metrics": {"written": Written()},
        "max_tokens": 6,
        "seed": 0,
        "model": model,
        "writer": kd.train.NoopWriter(),
        "base_cfg": None,
    }
    return kd.lm.GenerationEvaluator(**{**fields, **options})


def test_texts_are_those_of_generate_whatever_the_batches(trained):
    tokenizer, model, state = trained
    expected = [
        tokenizer.decode(
            kd.lm.generate(
                model,
                state.params,
                [tokenizer.encode(text, add_bos=tokenizer.special.adds_bos)],
                max_tokens=6,
                stop_ids=tokenizer.stop_ids,
            )[0].tokens
        )
        for text in TEXTS
    ]
    aux = evaluator(tokenizer, model, batch_size=3).evaluate(state, 7)
    rows = aux.metric_states["written"].texts()
    assert rows == [(i, 0, text) for i, text in enumerate(expected)]


@pytest.mark.slow
def test_samples_of_a_prompt_follow_each_other(trained):
    tokenizer, model, state = trained
    metrics = {
        "written": Written(),
        "checks": kd.lm.InstructionFollowing(instructions="batch.instructions"),
        "right": kd.lm.PassAtK(
            targets="batch.id",
            problem="batch.id",
            is_correct=lambda text, target: target == 0,
            k=(2,),
        ),
    }
    sampling = kd.lm.Sampling(temperature=1.0)
    run = evaluator(tokenizer, model, num_samples=2, sampling=sampling, metrics=metrics)
    states = run.evaluate(state, 7).metric_states
    rows = states["written"].texts()
    assert [row[:2] for row in rows] == [(i, s) for i in range(4) for s in range(2)]
    assert len({text for _, _, text in rows}) > 4
    assert states["right"].compute() == {"pass@2": 0.25}
    assert states["checks"].compute() == {"prompt": 1.0, "instruction": 1.0}


@pytest.mark.slow
def test_a_tuned_model_writes_with_its_updates(trained):
    tokenizer, model, state = trained
    tuned = kd.lm.LoRA(model=model, rank=1)
    adapters = jax.eval_shape(tuned.init, jax.random.key(0), np.zeros((1, 2), np.int32))
    params = jax.tree.map(
        lambda x: np.full(x.shape, 0.7, np.float32), adapters["params"]
    )
    collections = {"base": state.params}
    tuned_state = dataclasses.replace(state, params=params, collections=collections)
    merged = kd.lm.merge_lora(tuned, params, collections)
    plain_state = dataclasses.replace(state, params=merged)
    rows = [
        evaluator(tokenizer, m).evaluate(s, 0).metric_states["written"].texts()
        for m, s in ((tuned, tuned_state), (model, plain_state))
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": []}, "`prompts` of GenerationEvaluator is empty"),
        ({"prompts": [{"question": "?"}]}, "set `prompt_key`"),
        ({"num_samples": 0}, "`num_samples` of GenerationEvaluator must be >= 1"),
    ],
)
def test_what_does_not_fit_is_told(trained, options, message):
    tokenizer, model, _ = trained
    with pytest.raises(ValueError, match=message):
        evaluator(tokenizer, model, **options)


def test_a_model_that_writes_no_text_is_told(trained):
    tokenizer, _, state = trained
    run = evaluator(tokenizer, kd.nn.DummyModel())
    with pytest.raises(TypeError, match="got DummyModel"):
        run.evaluate(state, 0)
