"""Prints the test files of what a checkout has changed since `origin/main` (else since its last commit), nearest first.

Those are the changed tests themselves; of a module `x`, `test_x.py` and every test that imports it, one of its names,
or what its package itself defines, or whose conftest does; of any other file, every test that names it. What is reached
in other ways, `make test` tries.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
TESTS, SOURCE = REPOSITORY / "tests", REPOSITORY / "orchestrator"
LAST = ("deployment", "hostile", "faults", "containers")
"""Folders whose tests start parties: what takes longest comes last."""


def git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def changed() -> set[Path]:
    """Files that differ from the base, or that git does not know yet."""
    base = git("merge-base", "HEAD", "origin/main") or ["HEAD"]
    names = git("diff", "--name-only", base[0]) + git("ls-files", "--others", "--exclude-standard")
    return {REPOSITORY / name for name in names}


@cache
def imported(path: Path) -> frozenset[Path]:
    """The modules whose names a file imports, not the packages that hand them on."""
    return frozenset(_imported(path))


def _imported(path: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (module(SOURCE, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = path.parents[node.level - 1] if node.level else SOURCE if "freediv" in str(node.module) else TESTS
            origin = module(start, node.module or "")
            yield origin
            for alias in node.names:
                itself = module(start, f"{node.module or ''}.{alias.name}".strip("."))
                if itself.exists():
                    yield itself
                elif alias.name in handed_on(origin):
                    yield handed_on(origin)[alias.name]
                elif origin.name == "__init__.py":
                    yield from origin.parent.glob("*.py")


def module(start: Path, name: str) -> Path:
    """The file of a module by its dotted name; it need not be there."""
    path = start.joinpath(*name.split(".")) if name else start
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def handed_on(package: Path) -> dict[str, Path]:
    """Names that a package takes from its modules, with their files."""
    if package.name != "__init__.py" or not package.exists():
        return {}
    nodes = [node for node in ast.parse(package.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
    return {
        alias.asname or alias.name: module(package.parents[node.level - 1], node.module or "")
        for node in nodes
        if node.level
        for alias in node.names
    }


def reached(test: Path) -> set[Path]:
    """What a test's conftest imports, and the tests' own modules that it imports itself."""
    ours = {test.parent / "conftest.py"} | {path for path in imported(test) if path.is_relative_to(TESTS)}
    return ours | {path for one in ours if one.exists() for path in imported(one)}


def concerned(files: set[Path]) -> list[Path]:
    """Test files that these files concern, by how near and how quick they are."""
    modules = {f"test_{path.stem}" for path in files if path.suffix == ".py"}
    names = {path.name for path in files if path.suffix != ".py"}
    found: dict[Path, int] = {TESTS / "test_project.py": 0}
    for test in TESTS.rglob("test_*.py"):
        if test in files or test.stem in modules:
            found[test] = 0
        elif files & imported(test) or any(name in test.read_text(encoding="utf-8") for name in names):
            found[test] = 1
        elif files & reached(test):
            found[test] = 2
    return sorted(found, key=lambda test: (test.parent.name in LAST, found[test], test))


if __name__ == "__main__":
    print(*(path.relative_to(REPOSITORY) for path in concerned(changed())))
