"""How good the examples on volumes become, on real brains: minutes each.

They are held to what their docstrings say, less what a seed may change, and to the simple method
that each measures beside itself.
"""

from __future__ import annotations

import dataclasses

import pytest

from kauldron import kd
from tests.smoke import shell
from tests.smoke.test_lm_examples import read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Bar:
    """What an example reaches.

    Attributes:
      data: Name of what is fetched.
      metric: Of the last evaluation.
      simple: Of the simple method that it beats.
      at_least: Or
      at_most: where less is better.
    """

    data: str
    metric: str
    simple: str
    at_least: float | None = None
    at_most: float | None = None

    def is_cleared(self, values):
        """Returns whether the metric reaches the bar, and beats the simple method."""
        value, simple = values[self.metric], values[self.simple]
        if self.at_most is not None:
            return value <= self.at_most and value < simple
        return value >= self.at_least and value > simple


_BARS = {
    "volumes_segmentation": _Bar(
        data="mni",
        metric="metrics/dice/mean",
        simple="metrics/dice_by_threshold/mean",
        at_least=0.947,
    ),
    "volumes_synthesis": _Bar(
        data="mni",
        metric="metrics/psnr",
        simple="metrics/psnr_by_intensity",
        at_least=25.6,
    ),
    "volumes_registration": _Bar(
        data="mni",
        metric="metrics/tre_mm",
        simple="metrics/tre_before_mm",
        at_most=0.6,
    ),
    "volumes_atlas": _Bar(
        data="ch2",
        metric="metrics/dice",
        simple="metrics/dice_before",
        at_least=0.70,
    ),
}


def _evaluated(example, workdir, *flags):
    """Trains an example by its command, on its data; returns what was measured last."""
    folder = kd.data.fetch(_BARS[example].data)
    config = shell.ROOT / "examples" / f"{example}.py"
    command = f"kauldron train --cfg={config} --cfg.workdir={workdir}"
    flags = " ".join((f"--cfg.aux.folder={folder}", *flags))
    process = shell.start(f"{command} {flags}", workdir.parent)
    out, errors = process.communicate()
    assert process.returncode == 0, out + errors
    records = read(workdir)
    steps = [step for collection, step in records if collection == "eval"]
    values = records["eval", max(steps)]
    print(example, values)
    return values


@pytest.mark.parametrize("example", _BARS)
def test_an_example_is_as_good_as_it_says(example, tmp_path):
    assert _BARS[example].is_cleared(_evaluated(example, tmp_path / "run"))


@pytest.mark.parametrize("example", _BARS)
def test_an_example_that_hardly_trained_does_not_pass_for_good(example, tmp_path):
    values = _evaluated(example, tmp_path / "run", "--cfg.num_train_steps=1")
    assert not _BARS[example].is_cleared(values)
