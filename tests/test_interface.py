"""What other programs build on: names that are there, documented, typed and loaded late, and a page that runs."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import freediv
import pytest
from test_docs import FENCE, REPOSITORY

PAGE = REPOSITORY / "docs" / "python.md"
NAMES = [name for name in freediv.__all__ if name != "__version__"]


def examples() -> str:
    """The page's code, as one program."""
    text = PAGE.read_text(encoding="utf-8")
    return "\n".join(match[3] for match in FENCE.finditer(text) if match[2] == "python")


def test_type_checkers_and_programs_find_names_in_the_same_places() -> None:
    source = ast.parse(Path(freediv.__file__).read_text(encoding="utf-8"))
    checked = {
        alias.name: node.module
        for block in source.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert checked == freediv._HOMES
    assert set(NAMES) == set(checked)
    assert set(dir(freediv)) == set(freediv.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_with_its_types_and_says_what_it_is(name: str) -> None:
    found = getattr(freediv, name)
    assert found.__name__ == name
    assert found.__module__ == f"freediv.{freediv._HOMES[name]}"  # its own place, not one that hands it on
    assert found.__doc__
    if inspect.isfunction(found):
        signature = inspect.signature(found)
        assert signature.return_annotation is not signature.empty
        assert all(one.annotation is not one.empty for one in signature.parameters.values())


def test_a_name_that_is_not_there_is_an_error_that_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'freediv' has no attribute 'infre'"):
        freediv.infre  # type: ignore[attr-defined]  # noqa: B018


def test_the_package_alone_loads_neither_jax_nor_spu() -> None:
    program = (
        "import sys, freediv; dir(freediv); freediv.UserError; freediv.__version__; "
        "print(sorted({'jax', 'spu', 'numpy', 'grpc', 'transformers', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[]"


def test_the_version_is_the_packages() -> None:
    assert f'version = "{freediv.__version__}"' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


def test_the_page_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(REPOSITORY)
    space: dict[str, object] = {}
    exec(compile(f"from __future__ import annotations\n{examples()}", str(PAGE), "exec"), space)
    accuracy, label = capsys.readouterr().out.split("\n")[:2]
    assert accuracy.endswith("]") and float(accuracy.split(" %")[0]) > 80
    assert label == "positive"


def test_the_page_lists_every_name_once() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(listed) == sorted(freediv.__all__)


def test_what_the_page_only_defines_could_be_called() -> None:
    calls = [node for node in ast.walk(ast.parse(examples())) if isinstance(node, ast.Call)]
    ours = [call for call in calls if ast.unparse(call.func).startswith("freediv.")]
    assert {"load", "infer", "convert", "render"} <= {ast.unparse(call.func).split(".")[1] for call in ours}
    for call in ours:
        function = getattr(freediv, ast.unparse(call.func).split(".")[1])
        inspect.signature(function).bind(*call.args, **{str(one.arg): one.value for one in call.keywords})
    paths = [call.args[0] for call in calls if ast.unparse(call.func) == "Path"]
    assert all((REPOSITORY / ast.literal_eval(path)).exists() for path in paths)
