"""The repository itself: what it may name, what it installs, which module may import which."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from attacks import outcomes, read_attacks, summary
from touched import concerned

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


# --- what was tried against what ---


NO_ATTACKS = {
    "test_wrong_and_late_answers_are_told_from_right_ones",
    "test_what_is_left_behind_is_found",
    "test_every_fault_has_a_test_here",
    "test_what_falsifies_answers_is_injected_only_where_it_is_named",
    "test_a_row_passes_only_if_nothing_is_wrong_lost_or_left",
    "test_the_command_refuses_what_does_not_run_or_exist",
    "test_the_command_prints_a_table_and_ends_with_status_0",
    "test_parties_on_one_machine_have_no_network_to_cut",
    "test_each_file_is_sound_at_first",
    "test_limits_cost_few_messages",
}
"""They try what makes attacks (the command of chaos, files before they are damaged), or what holding them costs."""


def named_tests(path: Path, within: tuple[ast.stmt, ...] = ()) -> Iterator[str]:
    """The tests in a file, as pytest names them but for their parameters."""
    for node in within or ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            for name in named_tests(path, tuple(node.body)):
                yield name.replace("::", f"::{node.name}::", 1)
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield f"{path.relative_to(REPOSITORY).as_posix()}::{node.name}"


def test_every_row_of_the_table_of_attacks_has_its_test():
    written = [attack.test for attack in read_attacks()]
    assert len(written) > 60
    files = {REPOSITORY / test.partition("::")[0] for test in written}
    there = {test for path in files if path.exists() for test in named_tests(path)}
    assert set(written) <= there, sorted(set(written) - there)
    assert len(written) == len(set(written))


def test_every_attack_has_its_row_in_the_table():
    files = [path for folder in ("hostile", "faults") for path in (REPOSITORY / "tests" / folder).glob("test_*.py")]
    there = {test for path in files for test in named_tests(path) if test.split("::")[-1] not in NO_ATTACKS}
    without = there - {attack.test for attack in read_attacks()}
    assert not without, "add to docs/attacks.md what these try, and what holds it:\n" + "\n".join(sorted(without))


def test_what_became_of_an_attack_is_the_worst_of_its_tests():
    def reports(*names: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(nodeid=name) for name in names]

    one, other, third = (attack.test for attack in read_attacks()[:3])
    stats = {"passed": reports(f"{one}[a]", other), "error": reports(f"{one}[b]")}
    assert outcomes(stats) == {one: "FAILED", other: "held"}
    *rows, last = summary(stats, {one: "held", third: "held"})
    assert [row.split(" | ")[0].strip() for row in rows[:4]] == ["FAILED", "held", "held earlier", "not run"]
    assert last == f"{len(rows)} tried: 1 FAILED, 1 held, 1 held earlier, {len(rows) - 3} not run"


# --- what a change concerns ---


def test_a_change_concerns_the_tests_that_import_or_name_what_changed():
    def found(*names: str) -> list[str]:
        files = {REPOSITORY / name for name in names}
        return [path.relative_to(REPOSITORY / "tests").as_posix() for path in concerned(files)]

    of_shares = found("orchestrator/freediv/mpc/sharing/shares.py")
    assert of_shares[0] == "mpc/test_shares.py"  # its own before all others, those that start parties last
    assert {"mpc/test_store.py", "wire/test_share_transfer.py", "hostile/test_answers.py"} <= set(of_shares)
    assert of_shares.index("wire/test_share_transfer.py") < of_shares.index("hostile/test_answers.py")
    assert "conversion/test_losses.py" not in of_shares
    assert "monitoring/test_page.py" in found("orchestrator/freediv/cli/__init__.py")  # from freediv.cli import main
    assert "mpc/test_lanes.py" in found("tests/mpc/parties.py")
    assert "hostile/test_parsers.py" in found("configs/three-hosts.yaml")


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
    {"errors", "later", "process", "terminal"},
    {"yaml_file", "interrupts", "files", "progress", "tracing"},
    {"model"},
    {"conversion", "mpc"},
    {"cluster"},
    {"wire"},
    {"party"},
    {"monitoring"},
    {"owners"},
    {"deploy", "bench", "door"},
    {"chaos", "audit"},
    {"cli"},
    {"__main__"},
]
"""A module may import those of earlier levels, and none of its own."""

OUTSIDE = {
    "spu": {"mpc", "bench"},
    "grpc": {"cluster", "wire", "party", "owners", "cli"},
    "docker": {"deploy", "cli"},
    "optax": {"conversion"},
    "prometheus_client": {"monitoring", "door"},
    "fastapi": {"door"},
    "starlette": {"door"},
    "uvicorn": {"door"},
    "opentelemetry": {"tracing"},
    "matplotlib": {"monitoring", "bench", "audit"},
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
        if module != imported and level(imported) >= level(module):
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


# --- how files are read ---

NOT_TEXT = {"os", "tarfile", "Authority", "HostedDeployment", "lane", "Image"}
"""Whose `open` opens no text."""


def without_encoding(tree: ast.AST) -> Iterator[str]:
    """Calls that read or write text as the locale has it."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        named = {keyword.arg for keyword in call.keywords}
        of = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        function = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
        modes = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        opens = function == "fdopen" or (function == "open" and of not in NOT_TEXT)
        opens = opens and not any("b" in mode for mode in modes[-1:])
        if "encoding" not in named and (
            opens or function in {"read_text", "write_text"} or named & {"text", "universal_newlines"}
        ):
            yield f"{call.lineno}: {ast.unparse(call)[:100]}"


def test_every_text_is_read_and_written_in_an_encoding_that_is_named():
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{found}"
        for path in sorted([*PACKAGE.rglob("*.py"), *(REPOSITORY / "configs").rglob("*.py")])
        for found in without_encoding(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "call", ["path.read_text()", "path.open()", "open(name, 'w')", "os.fdopen(3, 'w')", "run(command, text=True)"]
)
def test_a_text_in_the_locales_encoding_is_found(call):
    assert list(without_encoding(ast.parse(call))) == [f"1: {call}"]


FOLDER = 15
"""Modules in a folder, at most, without what is made by tools."""


def test_no_folder_is_one_to_search_in():
    modules = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" and "_pb2" not in path.name]
    crowded = {
        folder.relative_to(REPOSITORY).as_posix(): count
        for folder in {path.parent for path in modules}
        if (count := sum(path.parent == folder for path in modules)) > FOLDER
    }
    assert not crowded, f"rooms of their own for what belongs together: {crowded}"


def test_rooms_within_a_package_import_one_way():
    """Between the folders of one package there is no circle either."""
    edges: dict[str, dict[tuple[str, str], str]] = {}
    for path, _, target in imports():
        own = Path(path).relative_to("orchestrator/freediv").parent.parts
        parts = target.split(".")[1:]
        inside = len(own) >= 2 and len(parts) >= 2 and own[0] == parts[0] and own[1] != parts[1]
        if inside and (PACKAGE / parts[0] / parts[1]).is_dir():
            edges.setdefault(own[0], {})[own[1], parts[1]] = path
    for package, found in edges.items():
        for (first, second), path in found.items():
            assert (second, first) not in found, f"{package}: {first} and {second} import each other: {path}"


# What a block or a family is called may be read in records and tables; what it does is said in its own file.
DISPATCH = re.compile(r"\.block (?:==|!=|in) |\.endswith\(\"(?:attention|feed_forward)")
DISPATCHING = {
    "model/stages.py",  # where a model's states begin and end
    "model/limits.py",
    "conversion/measures/bounds.py",  # rows after attention are compared twice
    "conversion/student/row_limits.py",
    "conversion/student/calibration.py",
    "monitoring/report.py",
}


def test_what_a_block_is_stands_in_its_file():
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if not path.is_relative_to(PACKAGE / "model" / "blocks") and DISPATCH.search(path.read_text(encoding="utf-8"))
    }
    assert found <= DISPATCHING, f"a block says it itself: {sorted(found - DISPATCHING)}"


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


@pytest.mark.parametrize(
    "module", ["party.server", "owners.data_owner", "owners.client", "owners.model_owner", "door.door"]
)
def test_what_computes_nothing_loads_neither_jax_nor_spu_nor_numba(module):
    program = f"import sys, freediv.{module}; print(sorted({{'jax', 'spu', 'numba'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_the_pages_are_part_of_the_package():
    files = [PACKAGE / "monitoring" / "report.html.j2", *(PACKAGE / "door" / "page").iterdir()]
    assert len(files) > 8
    patterns = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"][
        "freediv"
    ]
    found = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    assert set(files) <= found
