"""Files of every version since 0.1.0 are read as they were meant, and checkpoints gone on with."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm

ARCHIVE = Path(__file__).parent / "archive"
FILES = sorted(path for path in ARCHIVE.glob("*/*") if path.suffix in (".safetensors", ".ckpt"))
ESTIMATORS = [p for p in FILES if p.suffix == ".safetensors" and "network" not in p.name]

_spec = importlib.util.spec_from_file_location("archive_write", ARCHIVE / "write.py")
written = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(written)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _name(path):
    return f"{path.parent.name}/{path.name}"


def _expected(path):
    return json.loads((path.parent / "expected.json").read_text(encoding="utf-8"))[path.name]


def _near(dtype):
    """Return by how much the last bits may differ, which are promised within one version only."""
    return {"rtol": 1e-4, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-8, "atol": 1e-10}


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_models_of_earlier_versions_are_read(path):
    model, expected = fm.load(path), _expected(path)
    parameters = written.parameters_of(model)
    assert written.digest(parameters) == expected["parameters"]
    predictions = written.predictions_of(model)
    np.testing.assert_allclose(predictions, expected["predictions"], **_near(parameters.dtype))
    classes = getattr(model, "classes_", None)
    assert (None if classes is None else classes.tolist()) == expected.get("classes")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the runs are short
@pytest.mark.parametrize("path", [p for p in FILES if p.name in written.RUNS], ids=_name)
def test_checkpoints_of_earlier_versions_are_gone_on_with(path):
    result, end = written.RUNS[path.name](resume=path), _expected(path)["end"]
    assert result.nit == end["nit"]
    near = _near(result.x.dtype)
    np.testing.assert_allclose(result.x, end["x"], **near)
    np.testing.assert_allclose(result.fun, end["fun"], **near)


@pytest.mark.parametrize("path", ESTIMATORS, ids=_name)
def test_estimators_of_earlier_versions_learn_on(path):
    model = fm.load(path)
    last = model[-1] if hasattr(model, "steps") else model
    before = last.parameters_.copy()
    y = written.models()[path.name].predict(written.X)
    last.partial_fit(written.X.astype(before.dtype), y)
    assert np.isfinite(last.loss_)
    assert (last.parameters_ != before).any()


def test_the_archive_is_complete():
    """So that no rule of git's, or of a package's, has left files out."""
    folders = {path.parent for path in FILES}
    assert ARCHIVE / "0.1.0" in folders
    for folder in folders:
        expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
        assert set(expected) == {path.name for path in FILES if path.parent == folder}
        assert max(path.stat().st_size for path in FILES) < 8192


def test_this_version_writes_files_that_are_as_expected(tmp_path):
    """So that the archive can be written at the next release; what is there stays as it is."""
    folder = tmp_path / "now"
    written.write(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"expected.json", *written.models(), *written.RUNS} == before.keys()
    with pytest.raises(FileExistsError):
        written.write(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
