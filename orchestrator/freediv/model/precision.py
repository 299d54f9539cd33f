"""Matrix products, in full or in half precision."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib import import_module
from typing import Any, Literal

from ..later import Array, jax, jnp

Precision = Literal["float32", "bfloat16"]


def half_precision() -> AbstractContextManager[None]:
    """What is traced within takes the operands of its products, and of their gradients, as bfloat16, and adds in
    float32 (Micikevicius et al. 2018, with bfloat16's exponents, which need no loss scaling).

    Parameters, activations and gradients stay float32. It is for training where a device has units for it, which newer
    versions of jax than SPU's know to use (Intel's AMX on CPUs, tensor cores on GPUs).
    """
    context: AbstractContextManager[None] = jax.default_matmul_precision("bfloat16")
    return context


def in_precision(precision: Precision) -> AbstractContextManager[None]:
    """What is traced within takes the operands of its products in this precision."""
    return half_precision() if precision == "bfloat16" else nullcontext()


def multiply(x: Array, y: Array) -> Array:
    """x [..., n, k] times y [..., k, m], of equal leading dimensions."""
    # JAX keeps apart what it compiled under another setting.
    halves = jax.config.jax_default_matmul_precision == "bfloat16"  # type: ignore[attr-defined]
    return _multiply_halves()(x, y) if halves else x @ y


@cache
def _multiply_halves() -> Callable[[Array, Array], Array]:
    function = jax.custom_vjp(lambda x, y: _accumulate(_half(x), _half(y)))
    function.defvjp(_forward, _backward)
    return function


def _forward(x: Array, y: Array) -> tuple[Array, tuple[Array, Array]]:
    x, y = _half(x), _half(y)
    return _accumulate(x, y), (x, y)


def _backward(operands: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    (x, y), gradient = operands, _half(gradient)
    return _accumulate(gradient, _transposed(y)), _accumulate(_transposed(x), gradient)


def _half(x: Array) -> Array:
    return x.astype(jnp.bfloat16)


def _transposed(x: Array) -> Array:
    """With its rows one after another in memory, where XLA takes them to a CPU's matrix units. SPU's jax cannot ask."""
    turned = x.swapaxes(-1, -2)
    newer: Any = import_module("jax.experimental.layout")
    if not hasattr(newer, "with_layout_constraint"):
        return turned
    in_order: Array = newer.with_layout_constraint(turned, newer.Layout(tuple(range(x.ndim))))
    return in_order


def _accumulate(x: Array, y: Array) -> Array:
    return jnp.matmul(x, y, preferred_element_type=jnp.float32)
