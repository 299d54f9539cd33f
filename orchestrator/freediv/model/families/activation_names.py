"""What Hugging Face's configurations call activations."""

from __future__ import annotations

_OURS = {
    "gelu": "gelu",
    "gelu_new": "gelu-tanh",
    "relu": "relu",
    "silu": "silu",
    "tanh": "tanh",
    "linear": "none",
    "gelu_python": "gelu",
    "gelu_pytorch_tanh": "gelu-tanh",
    "gelu_fast": "gelu-tanh",
    "gelu_accurate": "gelu-tanh",
    "swish": "silu",
}
"""Of several names for one, the first is written."""


def activation_of(name: object, key: str) -> str:
    """The activation that a configuration names under a key.

    Raises:
        ValueError: another than those that are known.
    """
    if not isinstance(name, str) or name not in _OURS:
        raise ValueError(f"{key} {name!r} is not known; known: {', '.join(_OURS)}")
    return _OURS[name]


def name_of(activation: str) -> str:
    """What a configuration calls an activation; `gelu` where it has no name for it."""
    return next((name for name, one in _OURS.items() if one == activation), "gelu")
