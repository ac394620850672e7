"""Files are written whole or not at all, and what is no file of fastmlp is told as such."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastmlp as fm
from cases_estimators import Y3, X, classifier
from cases_files import parts, write_raw
from fastmlp import files

KIND = "numbers"


def _write(path, n, keep=1):
    """Write a file whose every number is n."""
    files.write(path, KIND, {"n": n, "numbers": np.full(1000 + 7 * n, n, np.int64)}, keep)


def _read(path):
    """Return n of a file, if it is whole."""
    kind, tree = files.read(path)
    n = tree["n"]
    assert kind == KIND
    assert tree["numbers"].tolist() == [n] * (1000 + 7 * n)
    return n


# Atomicity ------------------------------------------------------------------------------------


class _Crash(BaseException):
    """The end of the process: nothing is done after it."""


class _Faults:
    """Has one of the system's calls fail: before it is made, half done, or after it.

    Attributes
    ----------
    names : list of str
        The calls so far.
    """

    def __init__(self, at, when, error):
        self.at, self.when, self.error, self.names = at, when, error, []

    def __call__(self, name, function, half=None):
        def call(*args, **how):
            self.names.append(name)
            is_it = len(self.names) == self.at
            if self.error is _Crash and self.at and len(self.names) > self.at:
                raise _Crash
            if is_it and self.when == "before":
                raise self.error
            if is_it and self.when == "half" and half:
                half(*args)
                raise self.error
            result = function(*args, **how)
            if is_it and self.when == "after":
                if hasattr(result, "close"):
                    result.close()
                raise self.error
            return result

        return call

    def install(self, patch, has_links):
        opened = Path.open
        patch.setattr(Path, "open", self("open", lambda *a, **k: _File(opened(*a, **k), self)))
        for name in ("fsync", "open", "close", "replace", "chmod", "unlink"):
            patch.setattr(os, name, self(name, getattr(os, name)))
        link = os.link if has_links else _no_links
        patch.setattr(os, "link", self("link", link))


def _no_links(*_):
    raise PermissionError("no links here")


class _File:
    """A file whose every call may fail."""

    def __init__(self, file, faults):
        def half(content):
            file.write(content[: len(content) // 2])
            file.flush()

        self.write = faults("write", file.write, half)
        self.flush = faults("flush", file.flush)
        self.fileno, self.close, self.read = file.fileno, file.close, file.read

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _one_fault(folder, monkeypatch, keep, has_links, fault):
    """Write a fourth file over three, with a fault; return the calls, and whether it was told."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path, is_told = folder / "file", False
    for n in (1, 2, 3):
        _write(path, n, keep)
    with monkeypatch.context() as patch:
        fault.install(patch, has_links)
        try:
            _write(path, 4, keep)
        except (OSError, KeyboardInterrupt, _Crash):
            is_told = True
    there = {one.name: _read(one) for one in folder.iterdir() if not one.name.endswith(".tmp")}
    assert there["file"] == 4 if not is_told else there["file"] in (3, 4)
    if keep == 1:
        assert there.keys() == {"file"}
    else:
        assert there.keys() <= {"file", "file.1", "file.2"}
        assert there["file.2"] in (1, 2)
        assert there.get("file.1", 2) in (2, 3)
    return is_told


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt(), _Crash])
@pytest.mark.parametrize(("keep", "has_links"), [(1, True), (3, True), (3, False)])
def test_whatever_fails_the_file_is_the_old_or_the_new_one(
    tmp_path, monkeypatch, error, keep, has_links
):
    nothing = _Faults(0, "before", error)
    assert not _one_fault(tmp_path / "x", monkeypatch, keep, has_links, nothing)
    calls = nothing.names
    assert {"open", "write", "flush", "fsync", "chmod", "replace"} <= set(calls)
    assert ("link" in calls) == (keep > 1)
    told = 0
    for at in range(1, len(calls) + 1):
        for when in ("before", "half", "after"):
            fault = _Faults(at, when, error)
            told += _one_fault(tmp_path / "x", monkeypatch, keep, has_links, fault)
            left = [one.name for one in (tmp_path / "x").iterdir() if one.name.endswith(".tmp")]
            if error is _Crash:
                _write(tmp_path / "x" / "file", 5, keep)  # goes on as if nothing had been
                files.remove_leftovers(tmp_path / "x" / "file")
                assert _read(tmp_path / "x" / "file") == 5
            elif calls[at - 1] != "unlink":
                assert left == [], (calls[at - 1], when)
    assert told > len(calls)


def test_where_there_was_none_a_failure_leaves_none(tmp_path, monkeypatch):
    path = tmp_path / "file"
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, _no_links)
            with pytest.raises(PermissionError, match="no links"):
                _write(path, 1)
        assert list(tmp_path.iterdir()) == []


def test_earlier_files_are_kept_in_order(tmp_path):
    path = tmp_path / "file"
    for n in range(1, 8):
        _write(path, n, keep=3)
        kept = [_read(one) for one in sorted(tmp_path.iterdir())]
        assert kept == [n, n - 1, n - 2][:n]


def test_leftovers_of_others_stay(tmp_path):
    path = tmp_path / "file"
    names = [".file.tmp", ".other." + "0" * 32 + ".tmp", ".file." + "0" * 31 + ".tmp", "file.tmp"]
    for name in [*names, files._temporary(path).name]:
        (tmp_path / name).touch()
    files.remove_leftovers(path)
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(names)


_WRITER = """
import sys
import numpy as np
from pathlib import Path
from fastmlp import files
path, keep = Path(sys.argv[1]), int(sys.argv[2])
for n in range(200):
    files.write(path, "numbers", {"n": n, "numbers": np.full(1000 + 7 * n, n, np.int64)}, keep)
"""


@pytest.mark.parametrize("keep", [1, 2])
def test_a_reader_in_another_process_sees_whole_files_only(tmp_path, keep):
    path = tmp_path / "file"
    _write(path, 0, keep)
    _write(path, 0, keep)
    code = [sys.executable, "-c", _WRITER, str(path), str(keep)]
    kept = [path, tmp_path / "file.1"][:keep]
    seen = {one: [0] for one in kept}
    with subprocess.Popen(code) as writer:
        while writer.poll() is None:
            for one in kept:
                seen[one].append(_read(one))
    assert writer.returncode == 0
    assert _read(path) == 199
    for read in seen.values():
        assert read == sorted(read)
        assert len(set(read)) > 5


def test_threads_that_write_one_file_leave_a_whole_one(tmp_path):
    path = tmp_path / "file"
    _write(path, 0)
    failed = []

    def write(n):
        try:
            for _ in range(20):
                _write(path, n)
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(n,)) for n in (1, 2, 3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        _read(path)
    assert failed == []
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


# Truncated and flipped ------------------------------------------------------------------------


def _small(tmp_path, kind):
    path = tmp_path / "small"
    if kind == "network":
        net = fm.Network([1, 1])
        fm.save(path, (net, net.init(rng=0)))
    else:
        model = classifier(hidden_layer_sizes=(), solver="lbfgs", max_iter=50, alpha=1.0)
        fm.save(path, model.fit(X[:, :1].astype(np.float32), Y3), optimizer=False)
    content = path.read_bytes()
    assert len(content) < 3000
    return path, content


@pytest.mark.parametrize("kind", ["network", "classifier"])
def test_truncated_at_any_byte_it_is_refused(tmp_path, kind):
    path, content = _small(tmp_path, kind)
    for n in range(len(content)):
        path.write_bytes(content[:n])
        with pytest.raises(fm.FormatError, match="small"):
            fm.load(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(fm.FormatError, match="small"):
        fm.load(path)
    path.write_bytes(content)
    fm.load(path)


@pytest.mark.parametrize("kind", ["network", "classifier"])
def test_any_bit_flipped_it_is_refused(tmp_path, kind):
    path, content = _small(tmp_path, kind)
    flipped = bytearray(content)
    for place in range(len(content)):
        for bit in range(8):
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(fm.FormatError):
                fm.load(path)
            flipped[place] ^= 1 << bit
    path.write_bytes(flipped)
    fm.load(path)


# Foreign --------------------------------------------------------------------------------------


class _Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def _foreign(folder):
    """Make files that are none of fastmlp; return their paths."""
    made = {name: folder / name for name in ("empty", "text", "npy", "pickle", "other", "zip")}
    made["empty"].touch()
    made["text"].write_text("# A model\n" * 100)
    with made["npy"].open("wb") as file:
        np.save(file, X)
    made["pickle"].write_bytes(pickle.dumps(_Bomb()))
    save_file({"parameters": X}, made["other"])
    with zipfile.ZipFile(made["zip"], "w") as file:
        file.writestr("model", "of others")
    return list(made.values())


def test_foreign_files_are_refused_and_none_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in _foreign(tmp_path):
        with pytest.raises(fm.FormatError, match=path.name):
            fm.load(path)
    assert not Path("exploded").exists()


def test_what_is_no_file_is_refused_and_does_not_hang(tmp_path):
    places = [tmp_path]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        places += [tmp_path / "fifo", Path("/dev/null"), Path("/dev/zero")]
    for path in places:
        with pytest.raises((fm.FormatError, OSError), match=path.name):
            fm.load(path)
    with pytest.raises(FileNotFoundError):
        fm.load(tmp_path / "missing")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError):
        fm.load(tmp_path / "dangling")


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2", "C64", "F4", "X"])
def test_tensors_that_numpy_has_not_are_refused(tmp_path, dtype):
    path, _ = _small(tmp_path, "network")
    about, _ = parts(path)
    metadata = {"fastmlp": json.dumps(about), "sha256": ""}
    entry = {"dtype": dtype, "shape": [2], "data_offsets": [0, 4]}
    header = json.dumps({"__metadata__": metadata, "parameters": entry}).encode()
    for n in (1, 2, 4, 16):
        header = header.replace(b"[0, 4]", b"[0, %d]" % n)
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(n))
        with pytest.raises(fm.FormatError, match="small"):
            fm.load(path)


@pytest.mark.skipif(sys.platform != "linux", reason="files have holes elsewhere too, or not")
@pytest.mark.parametrize("is_told", [False, True], ids=["behind", "in a tensor"])
def test_a_terabyte_of_nothing_takes_no_memory(tmp_path, is_told):
    path, content = _small(tmp_path, "network")
    if is_told:
        entry = b'{"holes": {"dtype": "U8", "shape": [%d], "data_offsets": [8, %d]}, '
        n = int.from_bytes(content[:8], "little")
        header = entry % (2**40, 8 + 2**40) + content[9 : 8 + n]
        content = len(header).to_bytes(8, "little") + header + content[8 + n :]
        path.write_bytes(content)
    try:
        os.truncate(path, len(content) + 2**40)
    except OSError:
        pytest.skip("the file system has no files of a terabyte")
    tracemalloc.start()
    try:
        with pytest.raises(fm.FormatError, match=r"tensors|ncomplete"):
            fm.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_file_of_ones_own_has_a_right_digest(tmp_path):
    """So that what `write_raw` makes up goes beyond the digest."""
    for kind in ("network", "classifier"):
        path, _ = _small(tmp_path, kind)
        about, tensors = parts(path)
        write_raw(path, about, tensors)
        fm.load(path)
        write_raw(path, about, tensors, digest="0" * 64)
        with pytest.raises(fm.FormatError, match="digest"):
            fm.load(path)
