"""The model that a rehearsal loads, as its owner loads it."""

from __future__ import annotations

from pathlib import Path

from ..cluster.configuration import OwnerConfig
from ..model import read_model, resolve_model
from ..owners.model_owner import Offer, prepare_offer


def owners_offer(config: OwnerConfig, name: str | Path) -> Offer:
    """A model with its certificate; without one where its owner has to take that risk, to load it into this cluster.

    Without it where it could be had, it would be another upload than its owner's next one, and nobody would tell data
    owners of a cluster that the model does not fit.

    Raises:
        UserError: the model cannot be read.
    """
    model = read_model(resolve_model(name))
    architecture, certificate = model.architecture, model.certificate
    certified = (
        certificate.headroom_bits is not None
        and architecture.bounded
        and config.misfit(certificate, architecture) is None
    )
    return prepare_offer(name, without_headroom=not certified)
