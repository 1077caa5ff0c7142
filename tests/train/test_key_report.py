"""Every key is checked before compiling, and all mistakes are told at once."""

from __future__ import annotations

import pathlib
import random
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from absl import flags

from kauldron import kd, kontext
from kauldron.cli import train as train_command
from tests.train import small_run

ROOT = pathlib.Path(__file__).parents[2]


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="proj")(x)


class Model(nn.Module):
    x: kontext.Key = kontext.REQUIRED
    context: kontext.Key | None = None

    @nn.compact
    def __call__(self, x, context=None):
        encoded = Encoder(name="encoder")(x)
        logits = nn.Dense(2, name="head")(encoded)
        return {"logits": logits, "aux": {"embedding": encoded, "scale": jnp.ones(())}}


def _trainer(tmp_path, model="batch.x", *, losses=None, metrics=None, evals=None):
    good = kd.losses.L2(preds="batch.x", targets="batch.x")
    return small_run.make_trainer(
        tmp_path,
        model=Model(x=model),
        train_losses={"good": good, **(losses or {})},
        train_metrics=metrics or {},
        evals=evals or {},
    )


# Bad key -> the key that was meant. Each is a metric of its own, in one report.
_PLANTED = {
    "batch.X": "batch.x",
    "batch.labels": "batch.label",
    "batch.lable": "batch.label",
    "batch.labl": "batch.label",
    "bach.label": "batch.label",
    "batch.label.x": "batch.label",
    "preds.logit": "preds.logits",
    "preds.Logits": "preds.logits",
    "preds.lgits": "preds.logits",
    "pred.logits": "preds.logits",
    "preds.logitz": "preds.logits",
    "preds.aux.embeding": "preds.aux.embedding",
    "preds.aux.embbeding": "preds.aux.embedding",
    "preds.aux.embedding[0].x": "preds.aux.embedding",
    "preds.ax.embedding": "preds.aux.embedding",
    "preds.aux.scales": "preds.aux.scale",
    "preds.embedding": "preds.aux.embedding",
    "interms.encoder.__call__[0].x": "interms.encoder.__call__[0]",
    "interms.encodr.__call__[0]": "interms.encoder.__call__[0]",
    "interms.encoder.call[0]": "interms.encoder.__call__[0]",
    "interms.encoder.__call__[1]": "interms.encoder.__call__[0]",
    "interms.encoder.proj.__cal__[0]": "interms.encoder.proj.__call__[0]",
    "interms.encoder.prj.__call__[0]": "interms.encoder.proj.__call__[0]",
    "interms.haed.__call__[0]": "interms.head.__call__[0]",
    "interm.head.__call__[0]": "interms.head.__call__[0]",
    "params.head.kernal": "params.head.kernel",
    "params.head.weight": "params.head.kernel",
    "params.heads.kernel": "params.head.kernel",
    "params.head.biases": "params.head.bias",
    "param.head.bias": "params.head.bias",
    "params.encoder.proj.kernl": "params.encoder.proj.kernel",
    "params.proj.kernel": "params.encoder.proj.kernel",
    "grads.head.kernels": "grads.head.kernel",
    "grad.head.kernel": "grads.head.kernel",
    "grads.encoder.prok.bias": "grads.encoder.proj.bias",
    "updates.head.bais": "updates.head.bias",
    "update.head.bias": "updates.head.bias",
    "updates.hed.kernel": "updates.head.kernel",
    "loss_totl": "loss_total",
    "stepp": "step",
}


def test_forty_planted_mistakes_are_all_found_and_meant_right(tmp_path):
    assert len(_PLANTED) == 40
    planted = {f"m{i}": kd.metrics.Norm(tensor=key) for i, key in enumerate(_PLANTED)}
    trainer = _trainer(tmp_path, metrics=planted)
    with pytest.raises(kd.errors.UserError) as e:
        trainer.check()
    by_field = {re.search(r"\['(m\d+)'\]", p.field)[1]: p for p in e.value.problems}
    assert set(by_field) == set(planted)
    wrong = {
        key: by_field[f"m{i}"].nearest[0].path
        for i, (key, meant) in enumerate(_PLANTED.items())
        if by_field[f"m{i}"].nearest[0].path != meant
    }
    assert len(wrong) <= 2, wrong


def test_each_problem_names_field_key_and_nearest_with_shape(tmp_path):
    trainer = _trainer(
        tmp_path, losses={"recon": kd.losses.L2(preds="preds.logit", targets="batch.x")}
    )
    with pytest.raises(KeyError) as e:
        trainer.check()
    message = str(e.value)
    assert "cfg.train_losses['recon'].preds = 'preds.logit'" in message
    assert "Did you mean 'preds.logits' (f32[16 2])?" in message


def test_shapes_that_do_not_fit_are_in_the_same_report(tmp_path):
    trainer = _trainer(
        tmp_path,
        losses={
            "shape": kd.losses.L2(preds="preds.logits", targets="batch.x"),
            "key": kd.losses.L2(preds="preds.nothing", targets="batch.x"),
        },
    )
    with pytest.raises(kd.errors.UserError) as e:
        trainer.check()
    fields = {p.field for p in e.value.problems}
    assert fields == {"cfg.train_losses['shape']", "cfg.train_losses['key'].preds"}
    assert "(16, 2)" in str(e.value)


def test_wrong_model_key_does_not_hide_other_mistakes_nor_invent_some(tmp_path):
    trainer = _trainer(
        tmp_path,
        model="batch.xx",
        losses={
            "a": kd.losses.L2(preds="preds.logits", targets="batch.x"),
            "b": kd.losses.L2(preds="batch.x", targets="batch.y"),
        },
    )
    with pytest.raises(kd.errors.UserError) as e:
        trainer.check()
    fields = {p.field for p in e.value.problems}
    assert fields == {"cfg.model.x", "cfg.train_losses['b'].targets"}


def test_model_that_fails_is_part_of_the_report(tmp_path):
    class Broken(nn.Module):
        x: kontext.Key = "batch.x"

        @nn.compact
        def __call__(self, x):
            return x @ jnp.ones((7, 7))

    trainer = small_run.make_trainer(tmp_path, model=Broken())
    with pytest.raises(kd.errors.UserError, match=r"cfg\.model: TypeError: .*\(7,"):
        trainer.check()


def test_keys_of_evaluators_are_checked_too(tmp_path):
    evals = {
        "test": kd.evals.Evaluator(
            run=kd.evals.Final(),
            metrics={"n": kd.metrics.Norm(tensor="grads.head.kernel")},
        )
    }
    with pytest.raises(kd.errors.UserError) as e:
        _trainer(tmp_path, evals=evals).check()
    [problem] = e.value.problems
    assert problem.field == "cfg.evals['test'].metrics['n'].tensor"


def test_inherited_key_that_an_evaluation_lacks_is_told_once_with_its_place(tmp_path):
    evals = {"test": kd.evals.Evaluator(run=kd.evals.Final())}
    metrics = {
        "grad": kd.metrics.Norm(tensor="grads.head.kernel"),
        "typo": kd.metrics.Norm(tensor="preds.nope"),
    }
    with pytest.raises(kd.errors.UserError) as e:
        _trainer(tmp_path, metrics=metrics, evals=evals).check()
    assert [p.field for p in e.value.problems] == [
        "cfg.train_metrics['typo'].tensor",
        "cfg.train_metrics['grad'].tensor (in cfg.evals['test'])",
    ]


def test_metric_of_checkpoint_selection_is_checked(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path,
        checkpointer=kd.ckpts.Checkpointer(
            save_interval_steps=1, best_metric_path="eval.acuracy"
        ),
        evals={"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(1))},
    )
    with pytest.raises(kd.errors.UserError) as e:
        trainer.check()
    [problem] = e.value.problems
    assert problem.field == "cfg.checkpointer.best_metric_path"
    assert problem.nearest[0].path == "eval.accuracy"


def test_own_step_may_add_to_what_metrics_see(tmp_path):
    class Richer(kd.train.TrainStep):
        def _step(self, state, batch):
            context = kd.train.Context.from_state_and_batch(state=state, batch=batch)
            _, context = kd.train.forward_with_loss(
                context,
                model=self.model,
                losses=self.aux.losses,
                rngs=self.rng_streams.train_rngs(state.step),
                is_training=True,
            )
            context = context.replace(
                preds={**context.preds, "extra": jnp.ones((4, 4))}
            )
            return state.replace(step=state.step + 1), self.aux.update_context(context)

    def check(key):
        small_run.make_trainer(
            tmp_path,
            trainstep=Richer(),
            train_metrics={"n": kd.metrics.Norm(tensor=key)},
        ).check()

    check("preds.extra")
    with pytest.raises(KeyError, match=r"Did you mean 'preds\.extra'"):
        check("preds.extr")


def test_own_key_resolution_sees_everything(tmp_path):
    class Whole(kd.metrics.Norm):
        def _resolve_kwargs(self, context):
            return {"tensor": context.interms["encoder"]["__call__"][0]}

    _trainer(tmp_path, metrics={"n": Whole(tensor="not.a.key")}).check()


def test_nothing_is_compiled_or_placed(tmp_path):
    trainer = _trainer(tmp_path, metrics={"n": kd.metrics.Norm(tensor="preds.nope")})
    before = len(jax.live_arrays())
    with pytest.raises(kd.errors.UserError):
        trainer.check()
    assert trainer.trainstep._jitted_step._cache_size() == 0
    # Only keys of random streams, of a few bytes each.
    assert sum(x.nbytes for x in jax.live_arrays()[: -before or None]) < 1000


def test_unused_intermediates_cost_nothing_after_compilation(tmp_path):
    class Wasteful(nn.Module):
        x: kontext.Key = "batch.x"

        @nn.compact
        def __call__(self, x):
            big = jnp.ones((3, 64)) * x.sum()
            for _ in range(4):
                big = big @ (big.T @ big)
            self.sow("intermediates", "big", big)
            return {"logits": nn.Dense(2)(x), "unused": big}

    def flops(**metrics):
        trainer = small_run.make_trainer(
            tmp_path, model=Wasteful(), train_metrics=metrics
        )
        return small_run.compile_step(trainer).cost_analysis()["flops"]

    unread = flops()
    read = flops(n=kd.metrics.Norm(tensor="interms.big[0]"))
    assert unread < read / 3


def test_intermediates_are_recorded_for_the_modules_that_keys_read(tmp_path):
    def recorded(**metrics):
        trainer = _trainer(tmp_path, metrics=metrics)
        batch = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
            trainer.train_ds.element_spec,
        )
        _, context = jax.eval_shape(trainer.trainstep._step, trainer.state_specs, batch)
        return set(kontext.flatten_with_path(context.interms))

    norm = kd.metrics.Norm
    assert recorded() == set()
    assert recorded(a=norm(tensor="interms.encoder.__call__[0]")) == {
        "encoder.__call__[0]"
    }
    assert recorded(a=norm(tensor="interms.encoder.proj.__call__[0]")) == {
        "encoder.proj.__call__[0]"
    }


def test_methods_that_return_no_arrays_are_left_out_of_what_a_step_returns(tmp_path):
    class MakesLayers(nn.Module):
        x: kd.kontext.Key = "batch.x"

        def make_layer(self):
            return nn.Dense(2)

        @nn.compact
        def __call__(self, x):
            return {"x": self.make_layer()(x)}

    trainer = _trainer(tmp_path, metrics={}).replace(model=MakesLayers())
    interms = trainer.context_specs.interms
    assert interms["make_layer"] == (None,)
    assert interms["__call__"][0]["x"].shape == (16, 2)


def _count_of_recorded(trainer):
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), trainer.train_ds.element_spec
    )
    _, context = jax.eval_shape(trainer.trainstep._step, trainer.state_specs, batch)
    return len(jax.tree.leaves(context.interms))


@pytest.mark.parametrize(
    ("key", "num_recorded"),
    [
        ("grads", 0),
        ("params.**.bias", 0),
        ("interms.encoder.**", 2),  # of the encoder, and of the layer in it
    ],
)
def test_wrapped_metrics_record_no_more_than_their_keys_read(
    tmp_path, key, num_recorded
):
    norm = kd.metrics.Norm(tensor=key, axis=None, aggregation_type="concat")
    wrapped = kd.metrics.SkipIfMissing(kd.metrics.TreeReduce(metric=norm))
    trainer = _trainer(tmp_path, metrics={"norm": wrapped})
    assert _count_of_recorded(trainer) == num_recorded


def test_a_metric_that_says_nothing_of_its_keys_records_everything(tmp_path):
    class Own(kd.metrics.Norm):
        def _resolve_kwargs(self, context):
            return super()._resolve_kwargs(context)

    norm = Own(tensor="grads.head.bias", axis=None)
    trainer = _trainer(tmp_path, metrics={"norm": kd.metrics.SkipIfMissing(norm)})
    # Model, encoder, its layer, and head; the model returns three arrays.
    assert _count_of_recorded(trainer) == 6


class _Asking(kd.evals.EvaluatorBase):
    """An evaluator of the user's own, which reads one key of the batch."""

    key: str

    def evaluate(self, state, step):
        raise NotImplementedError

    def check(self, run, state, *, field):
        if self.key == "raise":
            raise ZeroDivisionError("by nothing")
        batch = {"batch": run.eval_ds.element_spec, "params": state.params}
        return kontext.check_keys(batch, {"key": self.key}, prefix=field)


def test_an_evaluator_of_ones_own_checks_itself(tmp_path):
    def check(key):
        run = kd.evals.EveryNSteps(1)
        _trainer(tmp_path, evals={"own": _Asking(run=run, key=key)}).check()

    check("batch.x")
    check("params.encoder.proj.kernel")
    with pytest.raises(kd.errors.UserError) as e:
        check("batch.labl")
    [problem] = e.value.problems
    assert problem.field == "cfg.evals['own'].key"
    assert problem.nearest[0].path == "batch.label"
    with pytest.raises(kd.errors.UserError, match=r"cfg\.evals\['own'\].*by nothing"):
        check("raise")


def test_an_evaluator_that_says_nothing_is_not_in_the_way(tmp_path):
    class Silent(kd.evals.EvaluatorBase):
        def evaluate(self, state, step):
            raise NotImplementedError

    _trainer(tmp_path, evals={"own": Silent(run=kd.evals.Final())}).check()


def test_a_metric_that_an_evaluator_of_ones_own_announces_can_be_chosen_by(tmp_path):
    class Announcing(kd.evals.EvaluatorBase):
        def evaluate(self, state, step):
            raise NotImplementedError

        def measures(self):
            return ["recall"]

    def check(path):
        checkpointer = kd.ckpts.Checkpointer(
            save_interval_steps=1, best_metric_path=path
        )
        evaluator = Announcing(run=kd.evals.EveryNSteps(1))
        trainer = _trainer(tmp_path, evals={"own": evaluator})
        trainer.replace(checkpointer=checkpointer).check()

    check("own.recall")
    with pytest.raises(kd.errors.UserError, match=r"Did you mean 'own\.recall'"):
        check("own.recal")


def _typo(rng: random.Random, text: str) -> str:
    """Changes one letter of a name inside a key."""
    while True:
        i = rng.choice([i for i, c in enumerate(text) if c.isalpha()])
        letter = rng.choice("abcdefghijklmnopqrstuvwxyz")
        changed = rng.choice(
            [
                text[:i] + text[i + 1 :],
                text[:i] + letter + text[i:],
                text[:i] + letter + text[i + 1 :],
                text[:i] + text[i + 1 : i + 2] + text[i] + text[i + 2 :],
            ]
        )
        if changed != text and ".." not in changed:
            return changed


_KEYS = {
    "examples/digits_classifier.py": {
        "train_losses.xentropy.logits": "preds.logits",
        "train_losses.xentropy.labels": "batch.label",
        "train_metrics.accuracy.logits": "preds.logits",
        "train_metrics.accuracy.labels": "batch.label",
        "train_summaries.image.images": "batch.image",
    },
    "examples/digits_autoencoder.py": {
        "train_losses.recon.preds": "preds.image",
        "train_losses.recon.targets": "batch.image",
        "train_metrics.latent_norm.tensor": "interms.encoder.__call__[0]",
        "train_summaries.gt.images": "batch.image",
        "train_summaries.recon.images": "preds.image",
    },
}


def test_a_hundred_typos_on_the_command_line(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(ROOT)
    rng = random.Random(0)
    misses = []
    for _ in range(10):
        for config, keys in _KEYS.items():
            typos = {field: _typo(rng, key) for field, key in keys.items()}
            overrides = [f"--cfg.{field}={typo}" for field, typo in typos.items()]
            capfd.readouterr()
            code = train_command.main(
                [
                    "kauldron",
                    f"--cfg={config}",
                    f"--cfg.workdir={tmp_path}",
                    *overrides,
                ],
                flag_values=flags.FlagValues(),
            )
            err = capfd.readouterr().err
            assert code == 2
            assert "Traceback" not in err
            for field, key in keys.items():
                group, name, attribute = field.split(".")
                where = re.escape(f"cfg.{group}['{name}'].{attribute} = ")
                found = re.search(rf"{where}.*\n\s+Did you mean '(.*?)'", err)
                if not found or found[1] != key:
                    misses.append((typos[field], key, found and found[1]))
    assert len(misses) <= 5, misses


def _failing_update(error):
    def update(updates, state, params=None):
        raise error

    return optax.GradientTransformation(lambda params: (), update)


def test_mistake_that_arises_in_the_update_is_in_the_report():
    error = kd.optim.RoutingError("The bias has no optimizer.")
    trainer = small_run.make_trainer("unused", optimizer=_failing_update(error))
    with pytest.raises(
        kd.errors.UserError, match=r"cfg\.trainstep: The bias has no optimizer\."
    ):
        trainer.check()


class _Failing(kd.train.TrainStep):
    def _step(self, state, batch):
        raise ZeroDivisionError("by nothing")


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": _failing_update(ZeroDivisionError("by nothing"))},
        {"trainstep": _Failing()},
    ],
)
def test_error_of_an_update_is_raised_as_it_is_before_compiling(changes):
    trainer = small_run.make_trainer("unused", **changes)
    with pytest.raises(ZeroDivisionError, match="by nothing") as e:
        trainer.check()
    assert any("`cfg.trainstep`" in note for note in e.value.__notes__)
    assert trainer.trainstep._jitted_step._cache_size() == 0


def test_error_of_an_update_does_not_hide_keys_that_are_wrong(tmp_path):
    wrong = kd.metrics.Std(values="preds.logit")
    trainer = _trainer(tmp_path, metrics={"wrong": wrong}).replace(
        optimizer=_failing_update(ZeroDivisionError("by nothing"))
    )
    with pytest.raises(KeyError, match=r"Did you mean 'preds\.logits'"):
        trainer.check()


def test_run_that_only_evaluates_needs_no_update():
    small_run.make_trainer("unused", optimizer=None, num_train_steps=0).check()


@pytest.mark.parametrize("value", ["text", b"x", object, {"a": {1, 2}}])
def test_model_that_returns_what_is_no_array_is_told_where(tmp_path, value):
    class Kind(Model):
        @nn.compact
        def __call__(self, x, context=None):
            return {**super().__call__(x), "kind": value}

    trainer = small_run.make_trainer(tmp_path, model=Kind(x="batch.x"))
    with pytest.raises(kd.errors.UserError, match=r"return arrays: got .*preds\['kind"):
        trainer.check()
