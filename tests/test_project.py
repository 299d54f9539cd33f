"""The repository itself: what it may name, what it installs, which module may import which."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "orchestrator" / "freediv"


def tracked() -> list[str]:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("needs a git checkout, to know which files are the project's")
    command = ["git", "-c", f"safe.directory={REPOSITORY}", "ls-files", "-z"]
    names = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return [name for name in names.split("\0") if name and (REPOSITORY / name).is_file()]


# --- what files say ---

# Joined here, so that this file does not hold what it looks for.
REGISTRIES = [
    ".".join(parts)
    for parts in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("deb", "debian", "org"),
        ("conda", "anaconda", "org"),
        ("pypi", "tuna"),
        ("download", "pytorch", "org"),
        ("crates", "io"),
        ("registry", "npmjs"),
    ]
]
FORBIDDEN = {
    "a package registry's address": r"(?<![a-z])(?:" + "|".join(map(re.escape, REGISTRIES)) + ")",
    "a path of one machine": r"(?<![\w.$}])/(?:" + "|".join(["work", "farm", "root", "home/[a-z]+", "Users"]) + r")/",
    "a file in the temporary directory": r"(?<![\w.$}])/" + "tmp" + r"/\w",
    "an issue's number": r"\b[Ii]ssue" + r" #?\d",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_files_speak_of_the_project_alone(what):
    pattern = re.compile(FORBIDDEN[what])
    found = []
    for name in tracked():
        data = (REPOSITORY / name).read_bytes()
        if b"\0" in data:
            continue
        for number, line in enumerate(data.decode(errors="replace").splitlines(), start=1):
            if pattern.search(line):
                found.append(f"{name}:{number}: {line.strip()[:100]}")
    assert not found, f"{what}:\n" + "\n".join(found)


def test_no_tracked_file_is_a_link_out_of_the_repository():
    for name in tracked():
        assert (REPOSITORY / name).resolve().is_relative_to(REPOSITORY), name


def test_the_licence_is_the_one_that_the_package_names():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    text = (REPOSITORY / "LICENSE").read_text()
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


# --- what is installed ---

LOCKS = ("requirements.lock", "requirements-dev.lock")


def requirements(lock: str) -> dict[str, list[str]]:
    """Requirement (`name==version ; marker`) -> its hashes."""
    text = (REPOSITORY / lock).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return {line.split("--hash")[0].strip(): re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line) for line in lines}


def names(lock: str) -> set[str]:
    return {normalised(requirement) for requirement in requirements(lock)}


def normalised(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_requirement_is_one_version_with_hashes_and_no_address(lock):
    locked = requirements(lock)
    assert len(locked) > 50
    for requirement, hashes in locked.items():
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==[\w.+!-]+( ; .*)?$", requirement), requirement
        assert hashes, requirement
    assert "://" not in (REPOSITORY / lock).read_text()


def test_locks_hold_everything_that_the_project_names():
    document = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    runtime = {*document["project"]["dependencies"], *document["build-system"]["requires"]}
    development = set(document["project"]["optional-dependencies"]["dev"])
    assert {normalised(r) for r in runtime} <= names("requirements.lock")
    assert {normalised(r) for r in runtime | development} <= names("requirements-dev.lock")


def test_tests_run_with_the_versions_that_users_get():
    runtime, development = (set(requirements(lock)) for lock in LOCKS)
    missing = {r.split(" ;")[0] for r in runtime} - {r.split(" ;")[0] for r in development}
    assert not missing


# --- which module imports which ---

LEVELS: list[set[str]] = [
    {"errors"},
    {"yaml_file", "interrupts"},
    {"transformer"},
    {"conversion", "secure"},
    {"roles"},
    {"topology", "render", "pki", "revocation", "local", "containers", "monitoring", "bench"},
    {"demonstration", "private_evaluation", "chaos"},
    {"cli"},
    {"__main__"},
]
"""A module may import those of earlier levels; orchestrating ones, also each other."""
ORCHESTRATING = LEVELS[5]

OUTSIDE = {
    "spu": {"secure", "bench"},
    "grpc": {"roles", "local", "cli"},
    "docker": {"containers", "local", "cli"},
    "optax": {"conversion"},
    "prometheus_client": {"monitoring"},
    "matplotlib": {"monitoring", "bench"},
}
"""Libraries that belong to some modules alone."""


def imports() -> Iterator[tuple[str, str, str]]:
    """(file, its module of the package, imported name from the top) for every import there is, lazy ones too."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = ["freediv", *parts[:-1]]
                start = base[: len(base) - node.level + 1] if node.level else []
                prefix = ".".join([*start, *([node.module] if node.module else [])])
                targets = [f"{prefix}.{alias.name}" for alias in node.names] if prefix == "freediv" else [prefix]
            else:
                continue
            for target in targets:
                yield path.relative_to(REPOSITORY).as_posix(), parts[0], target


def level(module: str) -> int:
    for number, modules in enumerate(LEVELS):
        if module in modules:
            return number
    pytest.fail(f"freediv.{module} has no level: add it to LEVELS where it belongs")


def test_imports_point_one_way():
    wrong = []
    for path, module, target in imports():
        if module == "__init__" or not target.startswith("freediv."):
            continue
        imported = target.split(".")[1]
        together = module == imported or {module, imported} <= ORCHESTRATING
        if not together and level(imported) >= level(module):
            wrong.append(f"{path} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_libraries_stay_where_they_belong():
    wrong = [
        f"{path} imports {target}"
        for path, module, target in imports()
        if module not in OUTSIDE.get(target.split(".")[0], {module})
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_are_small():
    long = {
        path.relative_to(REPOSITORY).as_posix(): lines
        for path in PACKAGE.rglob("*.py")
        if "_pb2" not in path.name and (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long, f"each concept in a file of its own: {long}"


# --- what commands say ---


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield (*path, name), command
            if isinstance(command, click.Group):
                yield from commands(command, (*path, name))


def test_every_command_explains_itself_with_an_example():
    from freediv.cli import group

    found = list(commands(group))
    assert len(found) >= 14
    for path, command in found:
        call = " ".join(("freediv", *path))
        with click.Context(command, info_name=call) as context:
            text = command.get_help(context)
        examples = re.search(r"Examples?:(.*)", text, flags=re.DOTALL)
        assert examples, f"{call} --help has no example"
        assert call in examples[1], f"{call} --help has an example of another command"


def test_help_loads_neither_jax_nor_spu():
    program = (
        "import sys; from freediv.cli import group; group(['--help'], standalone_mode=False); "
        "print(sorted({'jax', 'spu', 'matplotlib', 'transformers'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_the_page_template_is_part_of_the_package():
    template = PACKAGE / "monitoring" / "report.html.j2"
    assert template.is_file()
    patterns = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"][
        "freediv"
    ]
    assert any(template in PACKAGE.glob(pattern) for pattern in patterns)
