"""GELU, Hendrycks and Gimpel 2016: x Phi(x); its approximation by tanh; and those that peers run under MPC."""

from __future__ import annotations

from ....later import Array, jax, jnp
from ..origin import Origin
from .function import ActivationFunction, Shrinking


def _gelu_puma(x: Array) -> Array:
    """GELU in four pieces, two of them polynomials of degree 3 and 6: PUMA, Dong et al. 2023, equation 4."""
    x2 = jnp.square(x)
    x3, x4 = x2 * x, jnp.square(x2)
    x6 = x2 * x4
    left = -0.011034134030615728 * x3 - 0.11807612951181953 * x2 - 0.42226581151983866 * x - 0.5054031199708174
    middle = (
        0.0018067462606141187 * x6
        - 0.037688200365904236 * x4
        + 0.3603292692789629 * x2
        + 0.5 * x
        + 0.008526321541038084
    )
    above_left, above_middle, above_right = x >= -4.0, x >= -1.95, x > 3.0
    inner = jnp.where(above_middle, middle, left)
    return jnp.where(above_left, jnp.where(above_right, x, inner), 0.0)


ERF_FOURIER = (1.25772, -0.0299154, 0.382155, -0.0519123, 0.196033, -0.0624557, 0.118029)
"""Coefficients of sin(k pi x / 10), k = 1 to 7, in the Fourier series of erf with period 20."""


def _gelu_fourier(x: Array) -> Array:
    """GELU with erf by seven sines within 1.7 and its sign outside: SecFormer, Luo et al. 2024, equations 5 to 7.

    The seven sines come from one sine and one cosine by Clenshaw's recurrence.
    """
    z = x * 2**-0.5
    angle = z * (jnp.pi / 10)
    sine, double = jnp.sin(angle), 2 * jnp.cos(angle)
    after, later = jnp.zeros_like(z), jnp.zeros_like(z)
    for coefficient in reversed(ERF_FOURIER):
        after, later = coefficient + double * after - later, after
    erf = jnp.where(z < -1.7, -1.0, jnp.where(z > 1.7, 1.0, sine * after))
    return 0.5 * x * (1 + erf)


GELU = ActivationFunction(
    name="gelu",
    origin=Origin("error function by SPU", "Hendrycks and Gimpel 2016", retrained=False),
    apply=lambda x: jax.nn.gelu(x, approximate=False),
    bound=Shrinking(),
)
GELU_TANH = ActivationFunction(
    name="gelu-tanh",
    origin=Origin("tanh by SPU", "Hendrycks and Gimpel 2016", retrained=False),
    apply=lambda x: jax.nn.gelu(x, approximate=True),
    # The argument of its tanh, and the cube in it.
    bound=Shrinking(lambda x: max(x**3, 0.8 * (x + 0.044715 * x**3), 2 * x)),
)
# Both take powers of what is beyond the pieces that they are made for; nobody has bounded them.
GELU_PUMA = ActivationFunction(
    name="gelu-puma",
    origin=Origin("polynomials, piecewise", "PUMA, Dong et al. 2023", retrained=False),
    apply=_gelu_puma,
    bound=None,
)
GELU_FOURIER = ActivationFunction(
    name="gelu-fourier",
    origin=Origin("a Fourier series, piecewise", "SecFormer, Luo et al. 2024", retrained=False),
    apply=_gelu_fourier,
    bound=None,
)
