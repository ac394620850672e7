"""What the dashboard is made from: asv's settings, its pages, and the script that makes it."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bench import dashboard, pages

ROOT = Path(__file__).parents[1]
SETTINGS = json.loads((ROOT / "asv.conf.json").read_text())


@pytest.fixture
def page():
    asv = pytest.importorskip("asv")
    return (Path(asv.__file__).parent / "www" / "index.html").read_text(encoding="utf-8")


def test_each_dependency_is_pinned_to_a_version_that_the_library_takes():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [Requirement(each) for each in project["dependencies"]]
    pinned = SETTINGS["matrix"]["req"]
    assert set(pinned) == {each.name for each in requirements}
    for each in requirements:
        (version,) = pinned[each.name]
        assert re.fullmatch(r"\d+(\.\d+)+", version)
        assert version in each.specifier, each


def test_pages_load_nothing_from_other_hosts(page):
    written, unknown = pages.local(page)
    assert unknown == []
    assert len(pages.LOADED.findall(page)) > 5
    assert re.findall(r"<(?:script|link)[^>]*//[^>]*>", written) == []
    names = re.findall(r'"javascript/([^"]+)"', written)
    assert sorted(names) == sorted(
        path.name for path in pages.SCRIPTS.iterdir() if path.name != "LICENSE"
    )


def test_a_version_without_a_copy_is_told_and_left_as_it_is(page):
    written, unknown = pages.local(page.replace("jquery-3.3.1", "jquery-9.9.9"))
    assert unknown == ["https://code.jquery.com/jquery-9.9.9.min.js"]
    assert f'src="{unknown[0]}" integrity="sha' in written


def test_no_regressions_are_sought_where_more_is_better():
    (pattern,) = SETTINGS["regressions_first_commits"]
    judged = {
        "bench_train.Training.track_samples_per_second(mnist)@HEAD": False,
        "bench_train.Training.track_fraction_of_peak(mnist)@HEAD": False,
        "bench_train.Training.time_epoch(mnist)@HEAD": True,
        "bench_descent.Iterations.track_iteration_by_gradient(54-64-32-7)@HEAD": True,
    }
    assert {name: not re.match(pattern, name) for name in judged} == judged


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--commits", "0"], "--commits must be at least 1"),
        (["--output", "."], "has something else in it than a dashboard"),
    ],
)
def test_wrong_usage_is_told(arguments, message, tmp_path, monkeypatch, capsys):
    pytest.importorskip("asv")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "letter").touch()
    with pytest.raises(SystemExit, match="2"):
        dashboard.main(arguments)
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_a_dashboard_may_be_replaced(tmp_path):
    assert dashboard.may_be_replaced(tmp_path)
    assert dashboard.may_be_replaced(tmp_path / "new")
    (tmp_path / "index.html").touch()
    assert not dashboard.may_be_replaced(tmp_path)
    assert not dashboard.may_be_replaced(tmp_path / "index.html")
    (tmp_path / "asv.js").touch()
    assert dashboard.may_be_replaced(tmp_path)
    (tmp_path / ".git").touch()  # a work tree of published pages
    assert not dashboard.may_be_replaced(tmp_path)
