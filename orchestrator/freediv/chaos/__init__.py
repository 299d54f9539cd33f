"""Faults, injected into a deployment on this machine while it is asked, and what its clients saw of them."""

from .faults import FAULTS, Fault, faults_named
from .outcomes import Attempt, Injection, Row
from .rehearsal import Rehearsal
from .scene import Scene

__all__ = ["FAULTS", "Attempt", "Fault", "Injection", "Rehearsal", "Row", "Scene", "faults_named"]
