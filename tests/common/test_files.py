"""Output folders: what may be replaced, and that nothing half-written stays."""

import json

import pytest

from tritforge.common.files import new_folder, obstacle

KIND = ("manifest.json", "tritforge image", {"manifest.json", "data.bin"})


def make(path, content="tritforge image"):
    path.mkdir(parents=True)
    (path / "manifest.json").write_text(json.dumps({"format": content}))
    return path


def test_free_empty_and_own_folders_may_be_written(tmp_path):
    assert obstacle(tmp_path / "new", *KIND) is None
    (tmp_path / "empty").mkdir()
    assert obstacle(tmp_path / "empty", *KIND) is None
    assert obstacle(make(tmp_path / "image"), *KIND) is None


def test_others_are_left_alone(tmp_path):
    assert "is not a tritforge image" in obstacle(make(tmp_path / "other", "something"), *KIND)
    image = make(tmp_path / "image")
    (image / "mine.txt").write_text("mine")
    assert "is not a tritforge image" in obstacle(image, *KIND)


@pytest.mark.parametrize("inside", ["run", "deep/er/run", "../image/run"])
def test_nothing_is_written_into_a_finished_folder(tmp_path, inside):
    image = make(tmp_path / "image")
    assert "lies in" in obstacle(image / inside, *KIND)


def test_a_failed_block_leaves_what_was_there(tmp_path):
    image = make(tmp_path / "image")
    with pytest.raises(KeyboardInterrupt), new_folder(image) as folder:
        (folder / "data.bin").write_bytes(b"half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["image"]
    assert [path.name for path in image.iterdir()] == ["manifest.json"]
