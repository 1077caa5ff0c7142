"""Where things are in the directory of an app, besides its `app.json`."""

from __future__ import annotations

# The config of the run, for fine-tuning; shapes of its batches.
CONFIG = "config.json"
ELEMENT_SPEC = "element_spec.json"
# The config of what predicts files, if that is an evaluator.
PREDICTS = "predicts.json"
# Otherwise: transforms of the inputs, and metrics.
INPUTS = "inputs.json"
# Those of an evaluator that names other packages for them alone are here as well.
METRICS = "metrics.json"
# Exported programs, without weights: as it is, and with dropout.
PROGRAM = "program"
DROPPING_PROGRAM = "program_with_dropout"
# Weights of each member; sources of packages that configs name.
MEMBERS = "members"
CODE = "code"


def member_file(name: str) -> str:
    """Returns the file of the weights of a member."""
    return f"{MEMBERS}/{name}.safetensors"
