"""What is measured at a step after it was saved."""

from __future__ import annotations

import json

import google_crc32c
import jax.numpy as jnp
import pytest
from etils import epath

from kauldron import kd
from kauldron.checkpoints import _checksums, _layout


@pytest.fixture
def checkpointer(tmp_path):
    with kd.ckpts.Checkpointer(
        workdir=tmp_path, save_interval_steps=1, best_metric_path="test.loss"
    ) as checkpointer:
        checkpointer.save({"w": jnp.ones(2)}, step=1)
        checkpointer.save({"w": jnp.ones(2)}, step=2, metrics={"test": {"loss": 3.0}})
        yield checkpointer


def _metrics(checkpointer, step):
    folder = _layout.checkpoints_dir(checkpointer.workdir) / f"ckpt_{step}"
    return _layout.read_metrics(folder)


def test_metrics_are_added_once_and_decide_what_is_best(checkpointer):
    assert checkpointer.add_metrics(1, {"test": {"loss": 5.0, "text": "x"}}) is None
    assert _metrics(checkpointer, 1) == {"test": {"loss": 5.0}}
    assert checkpointer.best_step == 1
    # Saving a step that exists adds, too; what is there stays.
    assert not checkpointer.save({"w": jnp.ones(2)}, step=1, metrics={"test": {}})
    assert not checkpointer.save(
        {"w": jnp.ones(2)}, step=2, metrics={"test": {"loss": 9.0}}
    )
    assert _metrics(checkpointer, 1) == {"test": {"loss": 5.0}}
    assert _metrics(checkpointer, 2) == {"test": {"loss": 3.0}}


def test_added_metrics_are_covered_by_the_checksums(checkpointer, tmp_path):
    checkpointer.add_metrics(1, {"test": {"loss": 5.0}})
    assert kd.ckpts.find_damage(tmp_path, 1) == []
    file = tmp_path / "checkpoints/ckpt_1/metrics/metrics"
    file.write_text(file.read_text().replace("5", "6"))
    assert kd.ckpts.find_damage(tmp_path, 1) == [
        "metrics/metrics: its content has changed"
    ]


def test_nothing_is_added_where_there_is_nothing(checkpointer, tmp_path):
    checkpointer.add_metrics(1, {})
    checkpointer.add_metrics(7, {"test": {"loss": 5.0}})
    assert _metrics(checkpointer, 1) is None
    checkpointer.wait_until_finished()
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {
        "ckpt_1",
        "ckpt_2",
    }


def test_protected_step_stays_until_its_owner_has_another(tmp_path):
    with kd.ckpts.Checkpointer(
        workdir=tmp_path, save_interval_steps=1, max_to_keep=1
    ) as checkpointer:
        for step in range(5):
            checkpointer.protect({0: 0, 3: 3}.get(step, max(step - 3, 0)), owner="a")
            checkpointer.protect(1 if step else None, owner="b")
            checkpointer.save({"w": jnp.ones(2)}, step=step)
        checkpointer.wait_until_finished()
        assert list(checkpointer.all_steps) == [1, 4]


def test_checksum_of_a_large_file_is_of_all_its_bytes(tmp_path):
    folder = epath.Path(tmp_path)
    data = bytes(range(256)) * 12_289  # three chunks and a bit
    (folder / "large").write_bytes(data)
    _checksums.write(folder)
    entry = json.loads((folder / "checksums.json").read_text())["files"]["large"]
    expected = {"bytes": len(data), "crc32c": f"{google_crc32c.value(data):08x}"}
    assert entry == expected
    (folder / "large").write_bytes(data[:-1] + b"x")
    assert _checksums.find_damage(folder) == ["large: its content has changed"]
