"""A misspelt argument of a constructor is told with the class and the nearest name."""

from __future__ import annotations

import abc
import copy
import dataclasses
import inspect
import pickle

import pytest

from kauldron import errors, kd

_KEYS = {"preds": "preds.x", "targets": "batch.x"}


@pytest.mark.parametrize(
    ("cls", "misspelt", "meant"),
    [
        (kd.losses.L2, "pred", "preds"),
        (kd.losses.Window, "start", "start_step"),
        (kd.metrics.Accuracy, "logit", "logits"),
        (kd.metrics.TreeMap, "metrics", "metric"),
        (kd.summaries.ShowImages, "image", "images"),
        (kd.data.py.DataSource, "batchsize", "batch_size"),
        (kd.data.Cast, "keys", "key"),
        (kd.data.Elements, "keeps", "keep"),
        (kd.data.MixUp, "alpah", "alpha"),
        (kd.data.RandomFlipLeftRight, "keey", "key"),
        (kd.evals.Evaluator, "num_batch", "num_batches"),
        (kd.evals.EveryNSteps, "skip_frist", "skip_first"),
        (kd.train.Trainer, "num_step", "num_train_steps"),
        (kd.train.TrainStep, "optimiser", "optimizer"),
        (kd.train.EarlyStopping, "metrics", "metric"),
        (kd.train.KDMetricWriter, "work_dir", "workdir"),
        (kd.train.NanGuard, "max_event", "max_events"),
        (kd.train.Precision, "computes", "compute"),
        (kd.train.Remat, "module", "modules"),
        (kd.train.setup_utils.Setup, "tag", "tags"),
        (kd.ckpts.Checkpointer, "save_interval_step", "save_interval_steps"),
        (kd.ckpts.PartialKauldronLoader, "workdr", "workdir"),
        (kd.sharding.ShardingStrategy, "parms", "params"),
        (kd.inspect.Profiler, "every_step", "every_steps"),
    ],
)
def test_misspelt_argument_names_the_class_and_what_was_meant(cls, misspelt, meant):
    with pytest.raises(TypeError) as error:
        cls(**{misspelt: 1})
    assert isinstance(error.value, errors.UserError)
    begin = f"`{cls.__name__}` has no argument {misspelt!r}. Did you mean {meant!r}?"
    assert str(error.value).startswith(begin)


def test_all_misspelt_arguments_are_told_and_what_there_is():
    with pytest.raises(TypeError) as error:
        kd.metrics.Accuracy(logit="preds.logits", zzz="batch.label")
    assert str(error.value) == (
        "`Accuracy` has no argument 'logit'. Did you mean 'logits'? And no 'zzz'. Its "
        "arguments: logits, pred_labels, labels, mask, ignored_label."
    )


def test_private_fields_are_not_offered():
    with pytest.raises(TypeError) as error:
        kd.train.KDMetricWriter(inherited_from_root=1)
    assert "_inherited" not in str(error.value)


def test_subclass_of_the_user_says_its_own_arguments():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Mine(kd.losses.Loss):
        sharpness: float = 1.0

    with pytest.raises(TypeError, match=r"`Mine` has .*Did you mean 'sharpness'\?"):
        Mine(sharpnes=2.0)

    class Teller(kd.train.Hook, abc.ABC):
        def __init__(self, url, *, retries=3):
            self.url, self.retries = url, retries

    assert Teller("x", retries=1).retries == 1
    with pytest.raises(TypeError, match=r"`Teller` has .*Did you mean 'retries'\?"):
        Teller("x", retrys=1)


def test_constructor_that_takes_any_name_gets_any_name():
    class Open(kd.train.Hook):
        def __init__(self, **options):
            self.options = options

    assert Open(x=1).options == {"x": 1}


def test_class_without_arguments_says_so():
    with pytest.raises(TypeError, match=r"`Hook` has no argument 'x'. It has none\."):
        kd.train.Hook(x=1)
    with pytest.raises(TypeError, match=r"`Hook` takes no arguments: got \(1,\)"):
        kd.train.Hook(1)


def test_missing_arguments_are_told_by_python():
    with pytest.raises(TypeError, match=r"Trainer.*missing.*'train_ds'"):
        kd.train.Trainer()


def test_objects_are_copied_and_have_a_signature_as_before():
    loss = kd.losses.L2(**_KEYS)
    assert pickle.loads(pickle.dumps(loss)) == copy.deepcopy(loss) == loss
    assert dataclasses.replace(loss, weight=2.0).weight == 2.0
    assert list(inspect.signature(kd.data.Cast).parameters) == ["key", "dtype"]
