"""Commits of this repository side by side in a temporary folder; the work tree is only read."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
WORK_TREE = "the work tree"


class Checkout(NamedTuple):
    """A state of the library, and what a process needs to import it beside today's benchmarks."""

    name: str
    library: str
    path: tuple[str, ...]


@contextlib.contextmanager
def checkouts(revisions: tuple[str | None, ...]) -> Iterator[list[Checkout]]:
    """Check out each revision, None being the work tree as it is now; remove them at the end."""
    names = [WORK_TREE if revision is None else _commit(revision) for revision in revisions]
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="fastmlp-gate-"))
        folder = Path(scratch).resolve()
        benchmarks = _copied("bench", folder / "benchmarks")
        made = {}
        for number, name in enumerate(dict.fromkeys(names)):
            library = folder / f"library-{number}"
            if name == WORK_TREE:
                _copied("fastmlp", library)
            else:
                stack.callback(_remove, library)
                _git("worktree", "add", "--quiet", "--detach", str(library), name)
            if not (library / "fastmlp").is_dir():
                raise ValueError(f"commit {name} has no fastmlp/")
            path = (str(benchmarks), str(library))
            made[name] = Checkout(name, str(library), path)
        yield [made[name] for name in names]


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ValueError("git is not installed") from error
    if done.returncode:
        raise ValueError(done.stderr.strip() or f"git {arguments[0]} failed")
    return done.stdout.strip()


def _commit(revision: str) -> str:
    """Return the hash of the commit that a revision names."""
    try:
        return _git("rev-parse", "--verify", "--end-of-options", revision + "^{commit}")
    except ValueError as error:
        raise ValueError(f"{revision!r} names no commit: {error}") from error


def _copied(package: str, folder: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    return folder


def _remove(library: Path) -> None:
    with contextlib.suppress(ValueError):  # it was not added
        _git("worktree", "remove", "--force", str(library))
