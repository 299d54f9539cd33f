"""What was measured of a converted model, and which clusters that is good for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

RING_BITS = 64
FRACTION_BITS = 18
"""What headroom is measured for."""
COARSEST = 16
"""Fewest fraction bits that a certificate is converted to. Below, a weight or a mask over a length has so few bits that
labels change (one of 50 with 10 bits), which no headroom tells."""


def capacity_bits(fraction_bits: int) -> int:
    """Bits before the point of the largest product that fits.

    Until it is truncated, a product carries twice the fraction bits, and on the shares twice its value; its truncation
    asks for a bit to spare, and one is the sign: with 18 fraction bits 25 are left.
    """
    return RING_BITS - 3 - 2 * fraction_bits


class Certificate(BaseModel):
    """What was measured of a converted model, beside its parameters, and what it was measured for.

    It holds for every protocol in the field: products on the shares leave a bit less than SPU's own, and count here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    headroom_bits: float | None = Field(
        default=None,
        ge=-256,
        strict=True,
        le=RING_BITS,
        allow_inf_nan=False,
        description="bits between the largest intermediate seen and the edge of the ring",
    )
    fraction_bits: int = Field(default=FRACTION_BITS, ge=COARSEST, le=28)
    field: Literal["FM64"] = "FM64"
    length: int = Field(
        default=128, ge=1, le=1 << 14, description="of the longest texts that were seen, padded, in word pieces"
    )

    def headroom_at(self, fraction_bits: int) -> float:
        """Bits of headroom with so many fraction bits: two less for each that there are more.

        Fewer do not add any: not all that has a range gets a larger one from them (`mpc.cutting.roots`).
        """
        assert self.headroom_bits is not None
        return self.headroom_bits - 2 * max(0, fraction_bits - self.fraction_bits)

    def misfit(self, *, field: str, fraction_bits: int, length: int, row_limits: bool) -> str | None:
        """Why a cluster must not serve the model, and what to do; None where nothing speaks against it.

        Args:
            field: the cluster's.
            fraction_bits: the cluster's.
            length: the longest that it pads this model's texts to.
            row_limits: whether the model's rows have limits.
        """
        return next(self._misfits(field, fraction_bits, length, row_limits), None)

    def _misfits(self, field: str, fraction_bits: int, length: int, row_limits: bool) -> Iterator[str]:
        own, again = self.fraction_bits, "in the topology and render it again"
        if self.headroom_bits is None:
            yield "nobody measured its headroom; convert it with `freediv convert`"
            return
        if self.headroom_bits <= 0:
            yield (
                f"its values left the ring where they were measured (headroom {self.headroom_bits:.1f} bits); "
                "convert it by another recipe"
            )
        if field != self.field:
            yield f"its headroom was measured in {self.field}, the cluster computes in {field}; set field: {self.field}"
        if fraction_bits < COARSEST:
            yield f"{fraction_bits} fraction bits are too coarse for its labels; set fraction_bits: {own} {again}"
        if row_limits and fraction_bits > own:
            yield (
                f"the limits of its rows are proven for {own} fraction bits, the cluster has {fraction_bits}; "
                f"set fraction_bits: {own} {again}"
            )
        if (left := self.headroom_at(fraction_bits)) <= 0:
            yield (
                f"its headroom {self.headroom_bits:.1f} bits with {own} fraction bits is {left:.1f} with the "
                f"cluster's {fraction_bits}; set fraction_bits: {own} {again}"
            )
        if length > self.length:
            yield (
                f"its headroom was measured on texts of up to {self.length} word pieces, the cluster serves {length}; "
                f"take the buckets beyond {self.length} out of the topology, or convert it with longest: {length} "
                "under data in the recipe"
            )
