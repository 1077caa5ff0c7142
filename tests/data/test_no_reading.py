"""Describing a run touches no data: reading begins when something asks for it."""

from __future__ import annotations

import numpy as np
import optax
import pytest

from kauldron import kd, konfig


class _Untouchable:
    """A source, table or loader that may be held but not used."""

    def _fail(self, *args):
        raise AssertionError("The data were touched.")

    __len__ = __getitem__ = __getitems__ = __iter__ = __call__ = _fail
    __bool__ = _fail
    shape = property(_fail)


def _source(**fields):
    return kd.data.py.DataSource(
        data_source=_Untouchable(), shuffle=True, batch_size=2, **fields
    )


_DATASETS = {
    "source": _source,
    "finite source": lambda: _source(num_epochs=1),
    "mapped": lambda: _source().map(_Untouchable()),
    "prefetched": lambda: _source().prefetch(2),
    "taken": lambda: _source().take(3),
    "cached": lambda: _source(num_epochs=1).map(_Untouchable()).cache(),
    "cached part": lambda: _source().take(3).cache(),
    "on devices": lambda: _source().device_put(),
    "sliced": lambda: _source(transforms=[kd.data.py.SliceDataset(3)]),
    "mixture": lambda: kd.data.py.Mix([_source(), _source()], batch_size=2),
    "selection": lambda: kd.data.py.SelectFromDatasets(
        [_source()], selection_map=_Untouchable(), batch_size=2
    ),
    "loader": lambda: kd.data.InMemoryPipeline(loader=_Untouchable(), batch_size=2),
    "tfds": lambda: kd.data.py.Tfds("mnist", split="train", shuffle=True),
    "tf tfds": lambda: kd.data.tf.Tfds("mnist", split="train", batch_size=2),
    "hugging face": lambda: kd.data.py.HuggingFace("a/b", split="x", shuffle=True),
    "json": lambda: kd.data.py.Json("/nowhere.json", shuffle=True),
    "images": lambda: kd.data.py.ImageFolder("/nowhere", shuffle=True),
    "arrays": lambda: kd.data.py.NumpyArrays("/nowhere.npz", shuffle=True),
    "parquet": lambda: kd.data.py.Parquet("/nowhere.parquet", shuffle=True),
    "records": lambda: kd.data.py.ArrayRecord("/nowhere", shuffle=True),
    "volumes": lambda: kd.volumes.VolumeCases("/nowhere", groups={"ct": "ct.nii"}),
    "zipped": lambda: kd.data.tf.ZipDatasets({"a": _source()}, batch_size=2),
    "sampled": lambda: kd.data.tf.SampleFromDatasets([_source()], batch_size=2),
}


@pytest.mark.parametrize("name", _DATASETS)
def test_making_a_trainer_touches_no_data(name, tmp_path):
    make = _DATASETS[name]
    run = kd.evals.EveryNSteps(1)
    trainer = kd.train.Trainer(
        workdir=tmp_path / "run",
        train_ds=make(),
        eval_ds=make(),
        model=kd.nn.Identity(),
        optimizer=optax.sgd(0.1),
        num_train_steps=1,
        evals={
            "inherits": kd.evals.Evaluator(run=run),
            "own": kd.evals.Evaluator(run=run, ds=make(), num_batches=2, cache=True),
        },
    )
    repr(trainer.replace(seed=3, stop_after_steps=1))
    trainer.train_ds.for_evaluation()
    assert not (tmp_path / "run").exists()


def test_a_config_resolves_without_its_data_on_disk():
    with konfig.imports():
        from kauldron import kd as lazy_kd
    cfg = lazy_kd.train.Trainer(seed=0, num_train_steps=3)
    cfg.train_ds = lazy_kd.data.py.Tfds("no_such_dataset", split="train", shuffle=True)
    cfg.eval_ds = lazy_kd.data.py.Json("/nowhere.jsonl", shuffle=False)
    cfg.model = lazy_kd.nn.Identity()
    cfg.optimizer = None
    cfg.evals = {"e": lazy_kd.evals.Evaluator(run=lazy_kd.evals.EveryNSteps(1))}
    trainer = konfig.resolve(cfg)
    assert trainer.last_step() == 3
    with pytest.raises(ValueError, match=r"There is no .*nowhere\.jsonl"):
        _ = trainer.evals["e"].ds.element_spec


def test_something_that_is_no_dataset_is_still_refused_when_a_trainer_is_made():
    with pytest.raises(
        ValueError, match=r"`train_ds` must be a data pipeline.*ndarray"
    ):
        kd.train.Trainer(
            train_ds=np.zeros(3), model=kd.nn.Identity(), optimizer=optax.sgd(0.1)
        )


def test_a_dataset_without_a_length_cannot_be_cached():
    class Stream(kd.data.IterableDataset):
        element_spec = None

        def __iter__(self):
            raise AssertionError("The data were touched.")

    with pytest.raises(TypeError, match="no known length"):
        Stream().map(len).cache()
