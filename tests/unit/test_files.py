"""Files of strangers are read as plain files alone; files of ours are on the disk before they count."""

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from records import record

from runner.errors import Mistake
from runner.files import ANSWER_BYTES, NotPlain, make_folder, regular_file_bytes
from runner.jobs import answer_in
from runner.owners import MARK, passing_folder
from runner.paths import Paths
from runner.store import Store


def test_a_plain_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert regular_file_bytes(tmp_path / "file", 5) == b"12345"
    with pytest.raises(FileNotFoundError):
        regular_file_bytes(tmp_path / "none", 5)


STRANGE: list[Callable[[Path], None]] = [
    lambda path: path.symlink_to("/etc/passwd"),
    lambda path: path.symlink_to("nowhere"),
    lambda path: path.hardlink_to(other(path)),
    lambda path: path.mkdir(),
    lambda path: os.mkfifo(path),
    lambda path: path.symlink_to("/dev/zero"),
    lambda path: sparse(path),
]


def sparse(path: Path) -> None:
    with path.open("w") as file:
        file.truncate(40 * 2**30)


def other(path: Path) -> Path:
    (path.parent / "other").write_text("{}")
    return path.parent / "other"


@pytest.mark.parametrize("make", STRANGE, ids=["link", "dangling", "hard link", "folder", "pipe", "device", "40 GB"])
def test_an_answer_that_is_no_plain_file_of_fair_size_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "answer.json")
    with pytest.raises(NotPlain):
        regular_file_bytes(tmp_path / "answer.json", ANSWER_BYTES)
    answer, damage = answer_in(tmp_path)
    assert answer is None
    assert damage.startswith("left an answer that cannot be read (it ")


def test_a_record_is_on_the_disk_before_it_is_in_its_place_and_its_folders_after(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str, int]] = []
    flush, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        flush(descriptor)
        done.append(("flushed", str(Path(f"/proc/self/fd/{descriptor}").readlink()), os.fstat(descriptor).st_size))

    def moved(self: Path, target: Path) -> Path:
        done.append(("moved", str(self), self.stat().st_size))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", moved)
    path = Store(paths).write(record())
    (_, beside, size), (what, source, _), *folders = done
    assert (what, source) == ("moved", beside)
    assert size == path.stat().st_size
    made = [path.parent, *path.parent.parents]
    made = made[: made.index(paths.root) + 1]  # reports/results/<machine>/<workload>/<cell>, and what holds the first
    assert {place for what, place, _ in folders if what == "flushed"} == {str(folder) for folder in made}


def test_a_file_that_cannot_be_written_whole_leaves_nothing_beside(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = Store(paths).write(record())
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Mistake, match=r"cannot write reports/results/.*: No space left on device; .* run again"):
        Store(paths).write(record(fate="crashed"))
    assert list(path.parent.iterdir()) == [path]
    assert Store(paths).read(path) == record()


def test_two_runners_may_look_at_once_whether_results_can_be_written(paths: Paths) -> None:
    failures: list[BaseException] = []

    def look() -> None:
        try:
            for _ in range(200):
                Store(paths).check_writable()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(paths.results.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where a folder should be")
    with pytest.raises(Mistake, match=r"^cannot make .*/home/.cache: Not a directory; .*XDG_CACHE_HOME"):
        make_folder(tmp_path / "home" / ".cache")


def test_a_temporary_folder_that_takes_nothing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(Mistake, match=r"^cannot write in .*/none: No such file.*; .*TMPDIR"), passing_folder():
        pass


def test_a_folder_goes_whatever_a_guest_made_of_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    with passing_folder() as folder:
        (folder / "link").symlink_to(outside)
        (folder / "shut").mkdir()
        (folder / "shut" / "file").touch()
        (folder / "shut").chmod(0)
        before = Path.cwd()
        with contextlib.chdir(folder):
            for _ in range(1100):  # deeper than a path may be long
                Path("deeper").mkdir()
                os.chdir("deeper")
        assert Path.cwd() == before
    assert not folder.exists()
    assert list(outside.iterdir()) == [outside / "file"]


def test_the_mark_of_a_folder_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a runner that is killed while it removes a folder would leave one that nobody dares to touch."""
    gone: list[str] = []
    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda self: (gone.append(self.name), unlink(self)))
    with passing_folder() as folder:
        (folder / "a").mkdir()
        for name in ("z", "b", "a/c"):
            (folder / name).touch()
    assert sorted(gone) == [MARK, "b", "c", "z"]
    assert gone[-1] == MARK
    assert not folder.exists()
