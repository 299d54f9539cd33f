"""The command `freediv`: parse, call one function, print."""

from __future__ import annotations

import importlib

import click

from . import boundary

_COMMANDS = {
    "demo": "inference",
    "finetune": "conversion",
    "convert": "conversion",
    "predict": "measuring",
    "evaluate": "measuring",
    "headroom": "measuring",
    "sensitivity": "cards",
    "quantize": "cards",
    "results": "cards",
    "bench": "benchmarks",
    "images": "containers",
    "render": "deployment",
    "request": "deployment",
    "up": "deployment",
    "status": "deployment",
    "health": "deployment",
    "logs": "deployment",
    "down": "deployment",
    "load": "inference",
    "infer": "inference",
    "serve": "serving",
    "models": "models",
    "rollback": "models",
    "load-test": "load_test",
    "revoke": "certificates",
    "party": "deployment",
    "chaos": "rehearsing",
    "audit": "auditing",
    "report": "reporting",
}
"""Command -> module of this package that defines it, in the order in which help lists them."""


class _Lazy(click.Group):
    """Imports a command's module only when it is called: `freediv --help` loads neither JAX nor SPU."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = getattr(importlib.import_module(f"{__name__}.{module}"), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Lazy)
@click.version_option(package_name="freediv")
def group() -> None:
    """Private inference with division-free Transformers under secure multi-party computation.

    \b
    Try it:   freediv demo
    Convert:  freediv convert TEACHER --recipe configs/recipes/2quad-freediv.yaml --data train.tsv -o student
    Deploy:   freediv render configs/local.yaml -o deployment && freediv up --local deployment
    """


def main() -> None:
    """Run a command; what a user can mend is one line on standard error and exit status 2."""
    boundary.run(group)
