"""What others publish: BERT-base, 128 word pieces, one text, from their own papers unless `source` says otherwise.

Hardware and trust differ, so that no two figures here make a ranking.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One system's figures; None where its source has none.

    Attributes:
        name: of the system.
        parties: how many compute, and who else takes part.
        trust: what is assumed of them.
        linear: technique of matrix products.
        hardware: on which it was measured.
        gigabytes: sent online by all parties, 10^9.
        rounds: one after another.
        lan_seconds, wan_seconds: of one text.
        source: where the figures stand.
    """

    name: str
    parties: str
    trust: str
    linear: str
    hardware: str
    gigabytes: float | None
    rounds: int | None
    lan_seconds: float | None
    wan_seconds: float | None
    source: str


@dataclass(frozen=True)
class Claim:
    """What a paper says of its functions beside a model's own.

    Attributes:
        source: whose functions they are, as the functions say it.
        times_faster: than the model with its own functions.
        accuracy: beside that model's.
        of: what was measured, and how.
        published: where it stands.
    """

    source: str
    times_faster: float
    accuracy: str
    of: str
    published: str


CLAIM = Claim(
    "Liu et al. 2024", 2.26, "unchanged", "BERT-base, SST-2, SPU, LAN",
    "Journal of Computer Research and Development 61(5), 2024, 1218-1229",
)  # fmt: skip
"""Of which of the paper's two attentions is not known here: its full text was not at hand."""

_GIB = 2**30 / 1e9
_HONEST = "semi-honest"
_DEALT = "semi-honest, and a dealer who colludes with nobody"
_SHARES, _HE = "additive sharing, triples", "homomorphic encryption"

PUBLISHED = (
    Published(
        "SIGMA", "2 + dealer", _DEALT, "additive sharing, keys dealt before", "GPU", 0.99 * _GIB, 1128, 1.72, 55.2,
        "Gupta et al., PoPETs 2024, tables 5, 7, 9; 16.84 GB of keys beside",
    ),
    Published(
        "FuseFSS", "2 + dealer", _DEALT, "additive sharing, keys dealt before", "GPU", 0.83 * _GIB, 1116, 1.31, 10.0,
        "arXiv 2606.09551; 12.7 GB of keys beside; WAN projected",
    ),
    Published("SHAFT", "2 + dealer", _DEALT, _SHARES, "GPU", 10.46, 1495, 28.6, 66.5, "NDSS 2025, table VII"),
    Published("CrypTen", "2 + dealer", _DEALT, _SHARES, "GPU", 8.34, None, 21.6, 592.0, "as measured in SIGMA's"),
    Published("MPCFormer", "2 + dealer", _DEALT, _SHARES, "GPU", None, None, 11.1, None, "as measured in SIGMA's"),
    Published("BumbleBee", "2", _HONEST, _HE, "CPU", 6.40, None, 153.0, 292.0, "as measured in SHAFT's"),
    Published("BOLT", "2", _HONEST, _HE, "CPU", 59.6, 124180, 191.0, 1563.0, "as measured in SHAFT's"),
    Published("NEXUS", "2", _HONEST, _HE, "GPU", 0.164, 1, 37.3, None, "NDSS 2025, abstract"),
    Published("Cerium", "1 and the data owner", _HONEST, _HE, "GPUs", None, 1, 8.0, None, "arXiv 2512.11269, abstract"),
    Published(
        "PUMA", "3", f"{_HONEST}, one corrupt", "replicated sharing", "CPU", 10.77, None, 33.9, None, "arXiv 2307.12533"
    ),
    Published(
        "Mosformer", "3", f"{_HONEST}, one corrupt; also malicious", "replicated sharing", "CPU", 1.15, None, 20.1,
        None, "CCS 2025; figures semi-honest",
    ),
    Published("CipherPrune", "2", _HONEST, _HE, "CPU", 9.7, None, 79.0, None, "ICLR 2025"),
)  # fmt: skip
