"""Every published name is there, and can be found by looking around."""

from __future__ import annotations

import importlib

import pytest

from kauldron import kd
from tests.compatibility import public_names


@pytest.mark.parametrize("path", public_names.NAMES)
def test_every_published_name_can_be_imported_and_is_listed(path):
    module = importlib.import_module(path)
    listed = dir(module)
    for name in public_names.NAMES[path]:
        assert getattr(module, name, None) is not None, f"{path}.{name}"
        assert name in listed, f"{name} is not in dir({path})"


def test_a_misspelt_name_of_contrib_suggests_the_nearest():
    with pytest.raises(AttributeError, match="Did you mean 'WeightedL1'"):
        _ = kd.contrib.losses.WeigthedL1


def test_namespaces_of_kd_are_the_modules_of_the_import_paths():
    from kauldron import contrib, ktyping, sharding, testing
    from kauldron.utils import (
        api,
        from_xid,
        kdash,
        sharding_utils,
        status_utils,
        xmanager,
    )
    from kauldron.utils import utils as utils_lib

    assert kd.contrib is contrib and kd.testing is testing and kd.ktyping is ktyping
    assert kd.utils is api and kd.utils.utils is utils_lib
    assert kd.utils.status is status_utils.status
    assert kd.xm is xmanager and kd.from_xid is from_xid and kd.kdash is kdash
    assert kd.sharding is sharding is sharding_utils.sharding


def test_what_the_core_has_is_the_same_object_in_contrib():
    assert kd.contrib.losses.DiceLoss is kd.losses.DiceLoss
    assert kd.contrib.losses.SigmoidFocalLoss is kd.losses.SigmoidFocalLoss
    assert kd.contrib.data.RandAugment is kd.data.RandAugment
    assert kd.contrib.data.Normalize is kd.data.Normalize
    assert kd.contrib.metrics.RootMeanSquaredError is kd.metrics.RootMeanSquaredError
    assert kd.contrib.summaries.ShowVideosAsGif is kd.summaries.ShowVideos


def test_a_config_names_members_of_contrib_by_the_facade():
    from kauldron import konfig

    with konfig.imports():
        from kauldron import kd as lazy_kd
    cfg = lazy_kd.contrib.losses.WeightedL1(
        preds="preds.x", targets="batch.x", weights="batch.w"
    )
    assert "kd.contrib.losses.WeightedL1(" in repr(cfg)
    assert konfig.resolve(cfg) == kd.contrib.losses.WeightedL1(
        preds="preds.x", targets="batch.x", weights="batch.w"
    )
