"""The cache: what is kept is found again and whole, and a folder that cannot be used is no harm."""

import errno
import os
import subprocess
import sys

import pytest

from tritforge.common import cache
from tritforge.common.cache import CacheError, cache_folder, cached


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """The cache's folder."""
    monkeypatch.setenv("TRITFORGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Builder:
    """Makes a file, and counts how often."""

    def __init__(self, text="text"):
        self.count = 0
        self.text = text

    def __call__(self, folder):
        assert not list(folder.iterdir())
        self.count += 1
        (folder / "made").write_text(self.text)
        return folder / "made"


def test_a_second_time_nothing_is_made(folder):
    build = Builder()
    first, second = (cached("thing", b"key", build, ".txt") for _ in range(2))
    assert first == second and first.read_text() == "text" and build.count == 1
    assert first.parent == folder and first.name.startswith("thing-") and first.suffix == ".txt"
    assert cached("thing", b"other key", build, ".txt") != first
    assert cached("other thing", b"key", build, ".txt") != first
    assert build.count == 3
    assert len(list(folder.iterdir())) == 3


def test_only_so_many_are_kept(folder):
    """The last that were made; files of other names stay."""
    cached("thing_else", b"0", Builder(), ".txt", keep=1)
    cached("thing", b"0", Builder(), ".so", keep=1)
    made = []
    for number in range(4):
        made.append(cached("thing", bytes([number]), Builder(), ".txt", keep=2))
        os.utime(made[-1], (number, number))
    last = cached("thing", b"4", Builder(), ".txt", keep=2)
    assert sorted(folder.glob("thing-*.txt")) == sorted([made[-1], last])
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("damage", [b"", b"tex", b"teXt", b"texts"])
def test_what_is_damaged_is_made_again(folder, damage):
    build = Builder()
    path = cached("thing", b"key", build)
    path.write_bytes(damage)
    assert cached("thing", b"key", build) == path
    assert path.read_text() == "text" and build.count == 2
    assert list(folder.iterdir()) == [path]


def test_a_damaged_library_that_cannot_be_removed_is_not_used(folder, monkeypatch):
    path = cached("thing", b"key", Builder())
    path.rename(folder / path.name.replace(path.stem[-16:], "0" * 16))
    (damaged,) = folder.iterdir()
    monkeypatch.setattr(cache.Path, "unlink", lambda self: (_ for _ in ()).throw(OSError()))
    assert cached("thing", b"key", Builder()) == path
    assert {*folder.iterdir()} == {damaged, path}


def test_a_build_that_fails_leaves_nothing(folder):
    class WrongError(Exception):
        pass

    def fail(place):
        (place / "half").write_text("half")
        raise WrongError

    with pytest.raises(WrongError):
        cached("thing", b"key", fail)
    assert list(folder.iterdir()) == []

    def full(place):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CacheError, match=r"thing cannot be made in .*cache: No space left .*names"):
        cached("thing", b"key", full)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("place", ["a file", "below a file", "no such device"])
def test_a_temporary_folder_stands_in(monkeypatch, tmp_path, capsys, place):
    (tmp_path / "file").write_text("mine")
    chosen = {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "cache",
        "no such device": "/proc/tritforge",
    }[place]
    monkeypatch.setenv("TRITFORGE_CACHE", str(chosen))
    build = Builder()
    first, second = (cached("thing", b"key", build) for _ in range(2))
    assert first == second and first.read_text() == "text" and build.count == 1
    assert cache_folder() == first.parent
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert f"{chosen} cannot be written (" in err and f"kept in {first.parent} until" in err
    assert (tmp_path / "file").read_text() == "mine"


def test_what_a_folder_holds_is_used_where_it_cannot_be_written(folder, monkeypatch, capsys):
    path = cached("thing", b"key", Builder())

    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(cache.tempfile, "TemporaryFile", refuse)
    build = Builder()
    assert cached("thing", b"key", build) == path and build.count == 0
    assert capsys.readouterr().err == ""
    assert cached("thing", b"new key", build).parent != folder
    assert "(Read-only file system)" in capsys.readouterr().err


def test_nowhere_is_one_sentence(folder, monkeypatch, tmp_path):
    def refuse(*arguments, **options):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setenv("TRITFORGE_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(cache.tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(cache.tempfile, "mkdtemp", refuse)
    with pytest.raises(CacheError, match=r"neither .*elsewhere \(Permission denied\) nor a temp"):
        cached("thing", b"key", Builder())


@pytest.mark.parametrize("known", [True, False])
def test_a_home_that_is_not_there(tmp_path, known):
    """Its folder is not made, and the temporary one goes with the program."""
    program = (
        "import os\n"
        "from tritforge.common.cache import cached\n"
        "if 'HOME' not in os.environ:\n"
        "    os.path.expanduser = lambda path: path  # as of an unknown user\n"
        "def build(folder):\n"
        "    (folder / 'a').write_text('text')\n"
        "    return folder / 'a'\n"
        "print(cached('thing', b'key', build))\n"
    )
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("HOME", "TRITFORGE_CACHE", "XDG_CACHE_HOME")
    }
    if known:
        environment["HOME"] = str(tmp_path / "nowhere")
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**environment, "TMPDIR": str(tmp_path)},
    )
    assert done.stdout.startswith(str(tmp_path / "tritforge-"))
    assert "there is no folder" in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_where_things_are_kept(monkeypatch, tmp_path):
    monkeypatch.delenv("TRITFORGE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "tritforge"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_folder() == tmp_path / "caches" / "tritforge"
    monkeypatch.setenv("TRITFORGE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
