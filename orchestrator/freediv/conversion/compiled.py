"""Programs that JAX compiled, on disk for the processes that follow."""

from __future__ import annotations

import hashlib
import os
import platform
import warnings
from pathlib import Path

from ..files import kept_directory, remove_oldest
from ..later import jax

_MOST_BYTES = 1_000_000_000
"""Of all programs for one kind of processor; the oldest go."""
_WHAT_COUNTS = ("model", "flags", "CPU", "Features")
"""Lines of /proc/cpuinfo that tell what a processor can do."""


def keep_compiled() -> None:
    """From here on JAX takes what earlier processes compiled, and keeps what this one does.

    For each kind of processor in a directory of its own, as XLA compiles for all that the one at hand can do. Where JAX
    was told of a directory (JAX_COMPILATION_CACHE_DIR), that is left as it is; where nothing can be written, nothing is
    kept.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    directory = kept_directory(f"jax-{_processor()}")
    if directory is None:
        return
    remove_oldest(directory, _MOST_BYTES)
    jax.config.update("jax_compilation_cache_dir", str(directory))  # type: ignore[no-untyped-call]
    # What is damaged is compiled again, and a full disk keeps nothing: no reason to stop, or to speak.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")


def _processor() -> str:
    """A digest of what XLA compiles for."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        first = platform.processor()
    told = [platform.machine(), *(line for line in first.splitlines() if line.startswith(_WHAT_COUNTS))]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
