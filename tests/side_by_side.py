"""Which tests go to the same one of pytest's processes, where several run side by side."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling


class ByDeployment(LoadScopeScheduling):
    """Hands out whole modules, and together those of a package that share what its conftest makes once for all."""

    def _split_scope(self, nodeid: str) -> str:
        module = Path(nodeid.partition("::")[0])
        return str(module.parent if shares(self.config.rootpath / module) else module)


@cache
def shares(module: Path) -> bool:
    """Whether a module asks for a fixture of its package's conftest that is made once a package, or needs one."""
    conftest = module.parent / "conftest.py"
    if not conftest.exists():
        return False
    made = [
        function for function in functions(conftest) if any("package" in ast.dump(d) for d in function.decorator_list)
    ]
    names = {function.name for function in made}
    for _ in range(2):
        names |= {function.name for function in functions(conftest) if names & arguments(function)}
    return any(names & arguments(function) for function in functions(module))


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield node


def arguments(function: ast.FunctionDef) -> set[str]:
    return {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
