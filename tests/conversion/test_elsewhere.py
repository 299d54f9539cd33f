"""That a training runs where SPU does not, with no more than the recipes' page installs there."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_docs import REPOSITORY

from .conftest import Task

PAGE = REPOSITORY / "configs" / "recipes" / "README.md"
PROGRAM = """
import sys
from importlib.metadata import packages_distributions
from packaging.utils import canonicalize_name

installed, homes = set(sys.argv[1].split(",")), packages_distributions()

class Missing:
    def find_spec(self, name, path=None, target=None):
        found = {canonicalize_name(home) for home in homes.get(name.partition(".")[0], ())}
        if found and not found & installed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
sys.argv = ["freediv", *sys.argv[2:]]
from freediv.cli import main
main()
"""


def installed_elsewhere() -> set[str]:
    """What the page has a training's environment install, with what that needs, and freediv without what it needs."""
    commands = PAGE.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    line = next(line for line in commands if line.startswith("training/bin/pip install '"))
    missing = [Requirement(name) for name in shlex.split(line, comments=True)[2:]]
    found = {"freediv", "packaging"}  # the second is this test's
    while missing:
        one = missing.pop()
        if (name := canonicalize_name(one.name)) not in found:
            found.add(name)
            try:
                needed = [Requirement(text) for text in requires(name) or []]
            except PackageNotFoundError:
                continue
            missing += [other for other in needed if other.marker is None or other.marker.evaluate({"extra": ""})]
    return found


def test_a_teacher_and_a_student_are_made_with_what_the_page_installs(task: Task, tmp_path: Path) -> None:
    start = [sys.executable, "-c", PROGRAM, ",".join(sorted(installed_elsewhere()))]
    data = ["--data", task.train, "--dev", task.dev]
    for command in (
        ["finetune", task.pretrained, *data, "--label-names", "negative,positive", "--epochs", "1", "-o", "teacher"],
        ["convert", "teacher", "--recipe", task.recipe, *data, "-o", "student"],
    ):
        done = subprocess.run([*start, *map(str, command)], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "student" / "model.safetensors").exists()
