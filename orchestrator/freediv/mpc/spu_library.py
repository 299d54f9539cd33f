"""SPU, imported when something of it is first used: it imports JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..later import Later

__all__ = ["libspu", "spu"]

if TYPE_CHECKING:
    import spu
    from spu import libspu
else:
    spu, libspu = Later("spu"), Later("spu.libspu")
