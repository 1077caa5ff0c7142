"""The default values of our own classes, so that overrides find the fields."""

from __future__ import annotations

from kauldron.konfig.tree import _default_values
from kauldron.konfig.writing import _capture, _reference_makers


def register() -> None:
    """Registers them; called once, by the package."""
    with _capture.imports(lazy=True):
        from kauldron import kd, kxm

    _default_values.register_default_values(kxm.Job(args={}, env_vars={}, files={}))
    _default_values.register_default_values(
        kxm.Experiment(
            args={}, env_vars={}, files={}, sweep=_reference_makers.placeholder()
        )
    )
    for strategy in (
        kd.evals.StandaloneEveryCheckpoint,
        kd.evals.StandaloneLastCheckpoint,
    ):
        _default_values.register_default_values(
            strategy(args={}, env_vars={}, files={})
        )
    _default_values.register_default_values(
        kd.train.Trainer(
            workdir=_reference_makers.placeholder(str),
            writer=kd.train.KDMetricWriter(),
            evals={},
            schedules={},
            setup=kd.train.Setup(),
            xm_job=kxm.Job(),
        )
    )
    eval_only = kd.train.Trainer.eval_only(
        workdir=_reference_makers.placeholder(str),
        writer=kd.train.KDMetricWriter(),
        aux={"workdir": _reference_makers.placeholder(str), "step": -1, "trusted": ()},
        evals={},
        schedules={},
        num_train_steps=0,
        stop_after_steps=0,
        optimizer=None,
        checkpointer=None,
        setup=kd.train.Setup(eval_only=True),
        xm_job=kxm.Job(),
    )
    aux = eval_only.ref.aux
    eval_only.train_ds = kd.data.tf.ElementSpecDataset(
        spec=kd.train.workdirs.get_element_spec(aux.workdir)
    )
    eval_only.model = kd.train.workdirs.get_resolved(
        aux.workdir, path="model", trusted=aux.trusted
    )
    eval_only.init_transform = kd.ckpts.PartialKauldronLoader(
        workdir=aux.workdir,
        step=aux.step,
        new_to_old={"step": "step", "params": "params", "collections": "collections"},
    )
    _default_values.register_default_values(eval_only)
