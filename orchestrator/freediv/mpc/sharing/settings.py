"""Which MPC protocol, in which ring: what all parties and owners of a deployment agree on."""

from __future__ import annotations

import importlib.metadata
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from ...errors import UserError

if TYPE_CHECKING:
    import spu

Beaver = Literal["trusted-first-party"]
TRUSTED_FIRST_PARTY: Beaver = "trusted-first-party"
"""SEMI2K's only beaver source here: rank 0 makes the triples and could learn everything from them."""

Protocol = Literal["ABY3", "SEMI2K"]
"""Those that a cluster may run, with as few parties as they take."""
Products = Literal["spu", "spu-blocks", "shares"]
"""How the matrix products of a stage are computed: the engine of that name."""
Lookup = Literal["points", "rows"]
"""How word pieces get to the parties: as keys of point functions, or as one-hots or rows in shares."""

_PARTIES = {"ABY3": (3, 3), "SEMI2K": (2, 16), "CHEETAH": (2, 2)}  # fewest, most
_BITS = {"FM64": 64, "FM128": 128}


@dataclass(frozen=True)
class ProtocolSettings:
    """A protocol that is safe to run, checked when it is made.

    Attributes:
        name: ABY3 (three parties), SEMI2K (two or more) or CHEETAH (two).
        field: the ring, FM64 or FM128.
        fraction_bits: of a fixed-point number.
        parties: how many there are.
        beaver: where SEMI2K's triples come from; has to be asked for by name, because SPU documents it as unsafe.

    Raises:
        UserError: the settings are unknown, crash SPU, or are unsafe and not asked for by name.
    """

    name: str = "ABY3"
    field: str = "FM64"
    fraction_bits: int = 18
    parties: int = 3
    beaver: Beaver | None = None

    def __post_init__(self) -> None:
        if self.name not in _PARTIES:
            raise UserError(f"protocol {self.name!r} is not among {', '.join(_PARTIES)}")
        if self.field == "FM32":
            raise UserError("field FM32: SPU 0.9.5 crashes in its matrix products; use FM64")
        if self.field not in _BITS:
            raise UserError(f"field {self.field!r} is not known; known: {', '.join(_BITS)}")
        fewest, most = _PARTIES[self.name]
        if not fewest <= self.parties <= most:
            raise _other_parties(self.name, str(fewest) if fewest == most else f"at least {fewest}", self.parties)
        bits = _BITS[self.field]
        if not 4 <= self.fraction_bits <= bits // 2 - 4:
            raise UserError(f"fraction_bits {self.fraction_bits}: {self.field} takes 4 to {bits // 2 - 4}")
        if self.name == "SEMI2K" and self.beaver is None:
            raise UserError(
                "protocol SEMI2K: its multiplication triples come from rank 0, which could learn everything; "
                f"set beaver: {TRUSTED_FIRST_PARTY} to run it all the same, or use ABY3"
            )
        if self.beaver is not None and (self.name != "SEMI2K" or self.beaver != TRUSTED_FIRST_PARTY):
            raise UserError(f"beaver {self.beaver!r}: only {TRUSTED_FIRST_PARTY} is known, and only for SEMI2K")

    def insist_on_parties(self, count: int) -> None:
        """Refuse another number of parties than that of the settings.

        Raises:
            UserError: says what is needed.
        """
        if count != self.parties:
            raise _other_parties(self.name, str(self.parties), count)

    def terms(self) -> dict[str, object]:
        """What all parties must have alike, SPU's version included."""
        return {**asdict(self), "spu": importlib.metadata.version("spu")}

    def runtime_config(self, threads: int = 1) -> spu.RuntimeConfig:
        """SPU's configuration; `threads` bounds what it may use of the host."""
        import spu

        config = spu.RuntimeConfig(
            protocol=getattr(spu.ProtocolKind, self.name),
            field=getattr(spu.FieldType, self.field),
            fxp_fraction_bits=self.fraction_bits,
        )
        config.max_concurrency = threads
        config.enable_pphlo_profile = True
        return config


def fewest_parties(protocol: Protocol) -> int:
    """World size of a cluster that runs this protocol."""
    return _PARTIES[protocol][0]


def _other_parties(protocol: str, needs: str, count: int) -> UserError:
    return UserError(f"protocol {protocol} needs {needs} parties, there are {count}")
