"""What tests of configs and components need."""

from __future__ import annotations

from kauldron._base import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "assert_step_specs": "kauldron.testing._steps:assert_step_specs",
        "assert_utils": "kauldron.testing.assert_utils",
        "check_writer": "kauldron.testing._writers:check_writer",
    },
)
