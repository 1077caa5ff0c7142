"""Weights & Biases without a network: the contract, read back from the files it keeps."""

from __future__ import annotations

import json
import pathlib
import struct
import time

import pytest

from kauldron import kd
from tests.tracking import tracker_contract
from tests.train import small_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

_STATUSES = {0: "done", 130: "interrupted", 1: "failed"}


def records_of(folder, id):
    """The records that W&B keeps of a run, each of its starts in a file of its own."""
    from wandb.proto import wandb_internal_pb2

    files = pathlib.Path(folder).rglob(f"run-{id}.wandb")
    for file in sorted(files, key=lambda x: x.stat().st_mtime_ns):
        for data in _messages(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            yield record


def _messages(data):
    """The messages in a log of LevelDB: blocks of 32 KiB, of parts of messages."""
    position, message = 7, b""  # behind the mark of the format
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        message += data[position + 7 : position + 7 + length]
        if kind in (1, 4):  # whole, or the last part
            yield message
            message = b""
        position += 7 + length


def read_run(folder, id):
    """A run, in the words of the contract."""
    kept = {"params": {}, "points": {}, "tags": {}, "artifacts": {}, "message": ""}
    for record in records_of(folder, id):
        match record.WhichOneof("record_type"):
            case "run":
                run = record.run
                kept |= {"name": run.display_name, "parent": run.run_group}
                kept["tags"] |= dict(x.partition(":")[::2] for x in run.tags)
                _add_params(kept["params"], run.config.update)
            case "config":
                _add_params(kept["params"], record.config.update)
            case "history":
                values = {
                    "/".join(item.nested_key) or item.key: json.loads(item.value_json)
                    for item in record.history.item
                }
                step = values.pop("step")
                for name, value in values.items():
                    if not name.startswith("_"):
                        points = kept["points"].setdefault(name, [])
                        points.append((step, float(value)))
            case "summary":
                for item in record.summary.update:
                    if item.key == "message":
                        kept["message"] = json.loads(item.value_json)
            case "artifact":
                for entry in record.artifact.manifest.contents:
                    text = pathlib.Path(entry.local_path).read_text()
                    name = f"{record.artifact.name}:{entry.path}"
                    kept["artifacts"][name.replace("texts_notes.txt:", "texts/")] = text
            case "exit":
                kept["status"] = _STATUSES[record.exit.exit_code]
    return kept


def _add_params(params, items):
    for item in items:
        if item.key != "_wandb":
            name = item.key or "/".join(item.nested_key)
            value = json.loads(item.value_json)
            params[name] = value if isinstance(value, str) else str(value)


class TestOffline(tracker_contract.Contract):
    @pytest.fixture
    def tracker(self, tmp_path):
        return kd.tracking.Wandb(mode="offline", folder=str(tmp_path / "kept"))

    @pytest.fixture
    def read(self, tmp_path):
        def read_ended(id):
            for _ in range(100):  # its process may still write when `finish` returns
                kept = read_run(tmp_path / "kept", id)
                if "status" in kept:
                    return kept
                time.sleep(0.1)
            raise AssertionError(f"{id} has not ended: {kept}")

        return read_ended

    def test_what_comes_late_is_not_dropped(self, start, read):
        run = start()
        run.log_metrics([tracker_contract.point(5, train__loss=1.0)])
        run.log_metrics([tracker_contract.point(4, eval__accuracy=0.5)])
        run.end("done")
        kept = read(run.id)["points"]
        assert kept["eval.accuracy"] == [(4, 0.5)]

    def test_a_long_tag_is_not_cut(self, start, read, tmp_path):
        run = start()
        run.set_tags({"dataset": "x" * 100})
        run.end("done")
        read(run.id)
        records = records_of(tmp_path / "kept", run.id)
        assert any("x" * 100 in str(record) for record in records)


class Breaks(kd.train.Hook):
    def before_step(self, run, *, step, state, batch):
        if step == 7:
            raise ValueError("once")


def test_a_training_goes_on_in_the_same_run_and_no_step_is_there_twice(tmp_path):
    def train(**hooks):
        small_run.make_trainer(
            tmp_path / "digits",
            tracking=kd.tracking.Wandb(mode="offline"),
            checkpointer=kd.ckpts.Checkpointer(save_interval_steps=4),
            log_metrics_every=1,
            hooks=hooks,
        ).train()

    with pytest.raises(ValueError, match="once"):
        train(breaks=Breaks())
    time.sleep(2.0)  # its process may still write
    file = tmp_path / "digits" / "trackers" / "tracking.json"
    id = json.loads(file.read_text())["id"]
    assert read_run(tmp_path / "digits", id)["status"] == "failed"
    train()
    time.sleep(2.0)
    run = read_run(tmp_path / "digits", id)
    assert (run["name"], run["status"]) == ("digits", "done")
    assert [step for step, _ in run["points"]["train.accuracy"]] == [*range(10)]
