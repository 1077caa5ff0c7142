"""The default values of our own classes, so that overrides find the fields."""

from __future__ import annotations

from kauldron.konfig import _capture, _defaults, _refs


def register() -> None:
    """Registers them; called once, by the package."""
    with _capture.imports(lazy=True):
        from kauldron import kd, kxm

    _defaults.register_default_values(kxm.Job(args={}, env_vars={}, files={}))
    _defaults.register_default_values(
        kxm.Experiment(args={}, env_vars={}, files={}, sweep=_refs.placeholder())
    )
    _defaults.register_default_values(
        kd.train.Trainer(
            workdir=_refs.placeholder(str),
            evals={},
            schedules={},
            setup=kd.train.Setup(),
            xm_job=kxm.Job(),
        )
    )
