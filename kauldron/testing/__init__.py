"""Test utilities for configs and components: assertions, and contract suites."""

from __future__ import annotations

from kauldron._base import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "assert_step_specs": "kauldron.testing._steps:assert_step_specs",
        "assert_utils": "kauldron.testing.assert_utils",
        "check_config": "kauldron.testing._configs:check_config",
        "check_golden": "kauldron.testing._configs:check_golden",
        "check_loss": "kauldron.testing._metrics:check_loss",
        "check_metric": "kauldron.testing._metrics:check_metric",
        "check_model": "kauldron.testing._models:check_model",
        "check_transform": "kauldron.testing._transforms:check_transform",
        "configs_in": "kauldron.testing._configs:configs_in",
        "check_checkpointer": "kauldron.testing._checkpointers:check_checkpointer",
        "check_evaluator": "kauldron.testing._evaluators:check_evaluator",
        "check_hook": "kauldron.testing._hooks:check_hook",
        "check_init_transform": "kauldron.testing._init_transforms:check_init_transform",
        "check_pipeline": "kauldron.testing._pipelines:check_pipeline",
        "check_source": "kauldron.testing._sources:check_source",
        "check_writer": "kauldron.testing._writers:check_writer",
    },
)
