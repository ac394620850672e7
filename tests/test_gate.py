"""The gate of speed, on a small repository of its own: what it catches, and what it lets pass."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bench.gate
from bench.checkouts import Checkout
from bench.gate import BROKEN, CALLS, Look, compare, least_slower

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

ROOT = Path(__file__).parents[1]
# What was added up and counted is kept of the last time alone.
OFTEN = """
_once = sgd


def sgd(model, data, steps, total, done):
    for _ in range(2000):
        _once(model, data, steps, total.copy(), done.copy())
    _once(model, data, steps, total, done)
"""
WITHOUT_SGD = """
del _NAMES["sgd"]
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Return a repository with three commits: without sgd, whole, and with a slow kernel."""
    folder = tmp_path_factory.mktemp("gate") / "repository"
    for package in ("bench", "fastmlp"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    shutil.copy(ROOT / ".gitignore", folder)
    names, kernel = folder / "fastmlp/__init__.py", folder / "fastmlp/kernels/sample.py"
    whole = names.read_text()
    git(folder, "init", "--quiet")
    for tag, file, text in (
        ("old", names, whole + WITHOUT_SGD),
        ("whole", names, whole),
        ("slow", kernel, kernel.read_text() + OFTEN),
    ):
        file.write_text(text)
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", tag)
        git(folder, "tag", tag)
    return folder


def environment(folder):
    """Return variables that keep the user's settings, and this process's library, out of it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") and name not in ("PYTHONPATH", "NUMBA_CACHE_DIR")
    }
    people = {
        f"GIT_{role}_{part}": "a@b"
        for role in ("AUTHOR", "COMMITTER")
        for part in ("NAME", "EMAIL")
    }
    return {
        **kept, **people, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
        "FASTMLP_BENCH_SMALL": "1", "XDG_CACHE_HOME": str(folder.with_name("cache")),
    }  # fmt: skip


def run(folder, *command):
    return subprocess.run(
        command, cwd=folder, env=environment(folder), check=False, capture_output=True, text=True
    )


def git(folder, *arguments):
    done = run(folder, "git", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def gate(folder, *arguments):
    """Run the gate on its smallest work; return its exit code, what it printed, its complaints."""
    options = ("--rounds=3", "--works=tiny")
    done = run(folder, sys.executable, "-m", "bench.gate", *options, *arguments)
    return done.returncode, done.stdout, done.stderr


def nothing_is_left(folder):
    return (
        git(folder, "status", "--porcelain") == ""
        and len(git(folder, "worktree", "list").splitlines()) == 1
    )


def test_a_slow_kernel_is_caught(repository, tmp_path):
    file = tmp_path / "times.json"
    code, table, complaints = gate(repository, "--json", file, "whole", "slow")
    assert code == 1, table + complaints
    assert "Failed: tiny\n" in table
    found = json.loads(file.read_text())["works"]["tiny"]
    assert found["verdict"] == "SLOWER"
    assert len(found["seconds"]) == 2  # it was looked at again
    for look in found["seconds"]:
        assert len(look["base"]) == len(look["head"]) == 3
    assert nothing_is_left(repository)


def test_a_commit_is_not_slower_than_itself(repository):
    code, table, complaints = gate(repository, "--factor=9", "whole", "whole")
    assert code == 0, table + complaints
    assert nothing_is_left(repository)


def test_what_the_newer_one_cannot_do_fails(repository):
    code, table, complaints = gate(repository, "whole", "old")
    assert code == 1, table + complaints
    assert "BROKEN: HEAD: AttributeError" in table


def test_what_the_older_one_cannot_do_is_left_out(repository):
    code, table, complaints = gate(repository, "old")  # beside the work tree
    assert code == 2, table + complaints
    assert "left out: BASE: AttributeError" in table
    assert nothing_is_left(repository)


def test_how_many_rounds_must_be_slower():
    """By tosses of a coin, so many are seen less than once in 100 times."""
    assert [least_slower(rounds) for rounds in (3, 6, 7, 11, 21)] == [3, 6, 7, 10, 17]


@pytest.mark.parametrize(
    ("head", "is_slower"),
    [
        ([1.2] * 10 + [0.9], True),
        ([1.2] * 9 + [0.9] * 2, False),  # too few of the rounds
        ([1.05] * 11, False),  # not by so much
        ([1.12] * 11, True),
        ([1.0] * 11, False),
    ],
)
def test_slower(head, is_slower):
    assert Look([1.0] * 11, head).is_slower(1.1) is is_slower


def test_a_second_look_that_fails_is_no_pardon(monkeypatch):
    looks = iter([("", ""), ("it died", "")])

    def measured(workers, rounds):
        for worker, failure in zip(workers, next(looks), strict=True):
            worker.failure, worker.rates = failure, [2.0 if worker.name == "head" else 1.0] * rounds

    monkeypatch.setattr(bench.gate, "measure_in_rounds", measured)
    sides = [Checkout(name, "", ()) for name in ("base", "head")]
    outcome = compare(CALLS["tiny"], sides, 11, 1.1)
    assert (outcome.verdict, len(outcome.looks)) == (BROKEN, 1)
    assert "it died" in outcome.failure


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "'nowhere' names no commit"),
        (["HEAD", "--rounds=2"], "--rounds must be at least 3"),
        (["HEAD", "--factor=0.9"], "--factor must be at least 1"),
        (["HEAD", "--works=none"], "none"),
    ],
)
def test_wrong_usage_is_told(repository, arguments, message):
    code, _, complaints = gate(repository, *arguments)
    assert code == 2
    assert message in complaints.splitlines()[-1]
