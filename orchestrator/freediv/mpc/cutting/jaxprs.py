"""Running a traced function operation by operation, with other functions in place of some that it calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from ...later import Jitted

Function = Callable[..., Any]
Others: TypeAlias = Mapping[str, Function]
"""By the names of functions of the model, what computes them instead."""
Apply: TypeAlias = Callable[[Any, list[Any]], Sequence[Any]]
"""The results of one operation of JAX's (an equation of a jaxpr) for these values."""


def instead(others: Mapping[Function, Function]) -> Others:
    """Other functions for jitted ones: a trace tells nothing of a function but the name that it had as it was jitted.

    Raises:
        TypeError: a function is not jitted, and would not be found in any trace.
    """
    for function in others:
        if not isinstance(function, jax.stages.Wrapped | Jitted):
            raise TypeError(f"{function}: not jitted, so that no trace tells where it is called")
    return {function.__name__: other for function, other in others.items()}


def interpret(
    closed: Any,
    arguments: Sequence[Any],
    apply: Apply,
    others: Others,
    replaces: Callable[[Any], bool] = lambda value: True,
) -> list[Any]:
    """The results of a traced function.

    Args:
        closed: its jaxpr, with its constants.
        arguments: of whatever kind `apply` takes, as constants are numpy arrays.
        apply: called for each operation in turn, those of the functions that it calls included.
        others: functions that are traced and run in place of those of their names.
        replaces: whether they are, given the first argument of such a call.
    """
    jaxpr = closed.jaxpr
    known = dict(zip(jaxpr.invars, arguments, strict=True))
    known |= {v: np.asarray(c) for v, c in zip(jaxpr.constvars, closed.consts, strict=True)}

    def read(atom: Any) -> Any:
        return np.asarray(atom.val, atom.aval.dtype) if hasattr(atom, "val") else known[atom]

    for eqn in jaxpr.eqns:
        values = [read(atom) for atom in eqn.invars]
        other = others.get(eqn.params.get("name", ""))
        inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if other is not None and replaces(values[0]):
            inner = jax.make_jaxpr(other)(*(atom.aval for atom in eqn.invars))
            results = interpret(inner, values, apply, others, replaces)
        elif eqn.primitive.name in ("pjit", "closed_call", "custom_jvp_call") and inner is not None:
            results = interpret(inner, values, apply, others, replaces)
        else:
            results = list(apply(eqn, values))
        known |= dict(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def bind(primitive: Any, values: Sequence[Any], parameters: Mapping[str, Any]) -> list[Any]:
    """The results of an operation of JAX's."""
    found = primitive.bind(*values, **parameters)
    return list(found) if primitive.multiple_results else [found]


def with_others(function: Function, others: Others) -> Function:
    """A function in which others are called in place of those of these names."""

    def replaced(*arrays: jax.Array) -> Any:
        closed = jax.make_jaxpr(function)(*arrays)
        return interpret(closed, arrays, lambda eqn, values: bind(eqn.primitive, values, eqn.params), others)[0]

    return replaced
