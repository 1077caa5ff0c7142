"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.testing import assert_utils as assert_utils
from kauldron.testing._checkpointers import check_checkpointer as check_checkpointer
from kauldron.testing._configs import check_config as check_config
from kauldron.testing._configs import check_golden as check_golden
from kauldron.testing._configs import configs_in as configs_in
from kauldron.testing._evaluators import check_evaluator as check_evaluator
from kauldron.testing._hooks import check_hook as check_hook
from kauldron.testing._init_transforms import check_init_transform as check_init_transform
from kauldron.testing._metrics import check_loss as check_loss
from kauldron.testing._metrics import check_metric as check_metric
from kauldron.testing._models import check_model as check_model
from kauldron.testing._pipelines import check_pipeline as check_pipeline
from kauldron.testing._sources import check_source as check_source
from kauldron.testing._steps import assert_step_specs as assert_step_specs
from kauldron.testing._transforms import check_transform as check_transform
from kauldron.testing._writers import check_writer as check_writer

__all__ = [
    "assert_step_specs",
    "assert_utils",
    "check_checkpointer",
    "check_config",
    "check_evaluator",
    "check_golden",
    "check_hook",
    "check_init_transform",
    "check_loss",
    "check_metric",
    "check_model",
    "check_pipeline",
    "check_source",
    "check_transform",
    "check_writer",
    "configs_in",
]
