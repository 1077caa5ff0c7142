"""Every publisher passes the contract; what is special of each."""

from __future__ import annotations

import json
import threading

import pytest

from kauldron import kd
from tests.tracking import publisher_contract

EVENTS = publisher_contract.EVENTS


class TestNull(publisher_contract.Contract):
    @pytest.fixture
    def publisher(self):
        return kd.tracking.NullPublisher()

    @pytest.fixture
    def told(self):
        return lambda: None


class TestConsole(publisher_contract.Contract):
    @pytest.fixture
    def publisher(self):
        return kd.tracking.ConsolePublisher()

    @pytest.fixture
    def told(self, capsys):
        return lambda: capsys.readouterr().err.splitlines()


class TestJsonLines(publisher_contract.Contract):
    @pytest.fixture
    def publisher(self, tmp_path):
        return kd.tracking.JsonLinesPublisher(tmp_path / "new" / "events.jsonl")

    @pytest.fixture
    def told(self, tmp_path):
        return lambda: (tmp_path / "new" / "events.jsonl").read_text().splitlines()


@pytest.fixture(scope="module")
def redis_url():
    """A server that speaks Redis, on loopback; yields its address."""
    import fakeredis

    server = fakeredis.TcpFakeServer(("127.0.0.1", 0))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield "redis://{}:{}/0".format(*server.server_address)
    server.shutdown()
    server.server_close()


class TestRedis(publisher_contract.Contract):
    @pytest.fixture
    def publisher(self, redis_url):
        return kd.tracking.RedisPublisher(redis_url, channel="mine")

    @pytest.fixture
    def told(self, redis_url):
        import redis

        client = redis.Redis.from_url(redis_url)
        subscription = client.pubsub(ignore_subscribe_messages=True)
        subscription.subscribe("mine")
        lines = []
        subscription.get_message(timeout=5)  # that it is subscribed

        def read():
            while message := subscription.get_message(timeout=0.2):
                lines.append(message["data"].decode())
            return lines

        yield read
        subscription.close()
        client.close()


def test_a_line_is_strict_json_whatever_the_numbers_are():
    line = publisher_contract.check_strict(EVENTS[1].to_json())
    assert line == {
        "kind": "metric",
        "run": "digits",
        "step": 2,
        "collection": "train",
        "values": {"losses/total": "NaN", "metrics/accuracy": 0.5},
        "status": "running",
        "time": 2.0,
    }


def test_people_read_one_line_per_event():
    assert [event.describe() for event in EVENTS] == [
        "digits started at step 0",
        "digits step 2, train: total nan, accuracy 0.5",
        "digits step 4, eval: accuracy 0.75",
        "digits saved step 4",
        "digits failed at step 5: ValueError: bad [batch]",
        "digits is done at step 5",
    ]


def test_a_full_disk_leaves_whole_lines_only(tmp_path, monkeypatch):
    publisher = kd.tracking.JsonLinesPublisher(tmp_path / "events.jsonl")
    publisher.publish(EVENTS[0])
    from kauldron.workdir import json_lines

    def fail(f, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(json_lines, "write_whole", fail)
        with pytest.raises(OSError, match="No space left"):
            publisher.publish(EVENTS[1])
    publisher.publish(EVENTS[2])
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(x)["kind"] for x in lines] == ["started", "evaluation"]


def test_a_redis_server_that_is_gone_is_an_os_error_that_names_it():
    publisher = kd.tracking.RedisPublisher("redis://127.0.0.1:1/0")
    with pytest.raises(ConnectionError, match=r"redis://127\.0\.0\.1:1/0"):
        publisher.publish(EVENTS[0])
