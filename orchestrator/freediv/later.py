"""JAX, imported when something of it is first used.

It takes seconds to import, and few processes compute: a party's server, its owners' commands and the door do not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["Array", "Jitted", "Later", "jax", "jitted", "jnp"]

Function = TypeVar("Function", bound=Callable[..., Any])


class Later:
    """Stands for a module until something of it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp

    Array = jax.Array
else:
    jax, jnp = Later("jax"), Later("jax.numpy")
    Array = Any


class Jitted:
    """What `jitted` makes of a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self._function = function
        self._jitted: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self._jitted is None:
            self._jitted = jax.jit(self._function)
        return self._jitted(*arguments)


def jitted(function: Function) -> Function:
    """`jax.jit` of a function, made when it is first called."""
    made: Any = Jitted(function)
    return made
