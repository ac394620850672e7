"""Every command in the documentation runs, in order, on small data."""

import re
import shlex
from pathlib import Path

import pytest

from cases_experiments import fastmlp, write_table

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ["commands.md", "experiments.md"]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A page says of a file `name.toml` just before it shows what is in it.
NAMED = re.compile(r"`(\w+\.toml)`[^`]*?:?\s*$")


def steps(text):
    """Yield ("file", name, content) and ("command", line, "") in the order of a page."""
    for match in FENCE.finditer(text):
        language, content = match.groups()
        if language == "toml":
            named = NAMED.search(text[: match.start()])
            if named is not None:
                yield "file", named[1], content
        elif language == "console":
            for line in content.splitlines():
                if line.startswith("$ "):
                    yield "command", line.removeprefix("$ "), ""


@pytest.mark.parametrize("page", PAGES)
def test_commands(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_table("train.csv", 100)
    n_commands = 0
    for kind, what, content in steps((DOCS / page).read_text()):
        if kind == "file":
            Path(what).write_text(content)
            continue
        n_commands += 1
        command, _, target = what.partition(" > ")
        name, *arguments = shlex.split(command)
        assert name == "fastmlp", what
        done = fastmlp(*arguments)
        assert done.exit_code == 0, f"{what}: {done.output}"
        if target:
            Path(target).write_text(done.stdout)
    assert n_commands >= 5
