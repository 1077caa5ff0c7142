"""Every storage passes the contract; what is special of each."""

from __future__ import annotations

import urllib.request
import uuid

import pytest

from kauldron import kd
from tests.tracking import storage_contract

_KEYS = {"key": "testing", "secret": "testing"}


class TestLocal(storage_contract.Contract):
    @pytest.fixture
    def storage(self, tmp_path):
        return kd.tracking.open_storage(tmp_path / "storage")


class TestMemory(storage_contract.Contract):
    @pytest.fixture
    def storage(self):
        return kd.tracking.open_storage(f"memory://{uuid.uuid4().hex}/runs")


@pytest.fixture(scope="module")
def s3_server():
    """A server that speaks S3, on loopback; yields its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.mark.slow
class TestS3(storage_contract.Contract):
    @pytest.fixture
    def storage(self, s3_server):
        import s3fs

        options = {**_KEYS, "endpoint_url": s3_server}
        bucket = uuid.uuid4().hex
        s3fs.S3FileSystem(**options).mkdir(bucket)
        return kd.tracking.open_storage(f"s3://{bucket}/runs", options)

    def test_anybody_with_the_url_can_read_the_file(self, storage, file):
        storage.upload(file, "a")
        with urllib.request.urlopen(storage.url("a")) as reply:
            assert reply.read() == file.read_bytes()

    def test_a_bucket_is_never_made(self, s3_server, file):
        options = {**_KEYS, "endpoint_url": s3_server}
        storage = kd.tracking.open_storage("s3://no-such-bucket/runs", options)
        with pytest.raises(kd.tracking.StorageError, match=r"no-such-bucket.*bucket"):
            storage.upload(file, "a")


def test_an_upload_that_breaks_off_leaves_the_old_file(tmp_path, monkeypatch):
    storage = kd.tracking.LocalStorage(tmp_path / "storage")
    (tmp_path / "x").write_text("old")
    storage.upload(tmp_path / "x", "a")
    (tmp_path / "x").write_text("new")

    def full(source, target):
        target.write_text("n")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(kd.tracking.StorageError, match="No space left"):
        storage.upload(tmp_path / "x", "a")
    assert (tmp_path / "storage" / "a").read_text() == "old"
    assert storage.list() == ["a"]


def test_a_protocol_that_nobody_knows_is_named():
    storage = kd.tracking.open_storage("s4://bucket")
    with pytest.raises(kd.tracking.StorageError, match="s4"):
        storage.list()
