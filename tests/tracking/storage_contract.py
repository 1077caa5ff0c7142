"""What every storage does: `class TestMine(Contract)` with a fixture `storage`."""

from __future__ import annotations

import pytest

from kauldron import kd


class Contract:
    """Tests of a storage, given a fixture `storage` that is empty."""

    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "source.bin"
        path.write_bytes(b"\x00one\n")
        return path

    def test_it_is_a_storage(self, storage):
        assert isinstance(storage, kd.tracking.Storage)

    def test_a_file_comes_back_as_it_was(self, storage, file, tmp_path):
        storage.upload(file, "runs/a/model.bin")
        storage.download("runs/a/model.bin", tmp_path / "new" / "back.bin")
        assert (tmp_path / "new" / "back.bin").read_bytes() == b"\x00one\n"

    def test_a_second_upload_replaces_the_first(self, storage, file, tmp_path):
        storage.upload(file, "a")
        file.write_bytes(b"two")
        storage.upload(file, "a")
        storage.download("a", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == b"two"
        assert storage.list() == ["a"]

    def test_a_folder_is_stored_file_by_file(self, storage, tmp_path):
        (tmp_path / "model" / "deep").mkdir(parents=True)
        (tmp_path / "model" / "config.json").write_text("{}")
        (tmp_path / "model" / "deep" / "w").write_text("weights")
        storage.upload(tmp_path / "model", "m")
        assert storage.list() == ["m/config.json", "m/deep/w"]
        storage.download("m", tmp_path / "back")
        assert (tmp_path / "back" / "deep" / "w").read_text() == "weights"

    def test_a_list_has_the_files_of_one_folder_and_below(self, storage, file):
        for key in ("runs/2/x", "runs/1/x", "runs/10/x", "other"):
            storage.upload(file, key)
        assert storage.list("runs") == ["runs/1/x", "runs/10/x", "runs/2/x"]
        assert storage.list("runs/1") == ["runs/1/x"]
        assert storage.list("nothing") == []

    def test_files_and_folders_exist_and_nothing_else_does(self, storage, file):
        storage.upload(file, "runs/1/x")
        assert storage.exists("runs/1/x") and storage.exists("runs/1")
        assert not storage.exists("runs/1/y") and not storage.exists("run")

    def test_what_is_deleted_is_gone_and_the_rest_is_not(self, storage, file):
        for key in ("a/1", "a/2", "b"):
            storage.upload(file, key)
        storage.delete("a/1")
        assert storage.list() == ["a/2", "b"]
        storage.delete("a")
        assert storage.list() == ["b"] and not storage.exists("a")

    def test_a_file_has_a_url(self, storage, file):
        storage.upload(file, "a/model.bin")
        assert "://" in storage.url("a/model.bin")
        assert "model.bin" in storage.url("a/model.bin")

    @pytest.mark.parametrize("method", ["download", "delete", "url"])
    def test_a_missing_key_is_named_with_the_nearest(
        self, storage, file, tmp_path, method
    ):
        storage.upload(file, "runs/model.bin")
        args = [tmp_path / "x"] if method == "download" else []
        with pytest.raises(
            kd.tracking.StorageError, match=r"no 'runs/modle.bin'.*'runs/model.bin'"
        ):
            getattr(storage, method)("runs/modle.bin", *args)

    def test_a_missing_file_is_named(self, storage, tmp_path):
        with pytest.raises(kd.tracking.StorageError, match=r"no file .*nothing"):
            storage.upload(tmp_path / "nothing", "a")
        assert storage.list() == []

    @pytest.mark.parametrize("key", ["", "/etc/passwd", "a/../../b", "a//b", "a\\b"])
    def test_no_key_leads_out_of_the_storage(self, storage, file, key):
        with pytest.raises(kd.tracking.StorageError, match="relative path"):
            storage.upload(file, key)
