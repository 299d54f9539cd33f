"""The model: a BERT-family classifier as named stages of pure JAX functions. It knows nothing of MPC."""

from .architecture import BUCKETS, Architecture, LayerFunctions
from .checkpoint import (
    Certificate,
    Model,
    as_stored,
    convert_functions,
    initial_constants,
    initial_parameters,
    read_model,
    read_pretrained,
    resolve_model,
    write_model,
)
from .folding import fold
from .inputs import bucket_for, input_shapes, prepare_inputs
from .pairs import Text
from .products import Precision, half_precision, in_precision
from .stage import Dropout, Parameters, Stage
from .stages import answer, forward, hidden_states, parameter_shapes, stages
from .storage import Weights

__all__ = [
    "BUCKETS",
    "Architecture",
    "Certificate",
    "Dropout",
    "LayerFunctions",
    "Model",
    "Parameters",
    "Precision",
    "Stage",
    "Text",
    "Weights",
    "answer",
    "as_stored",
    "bucket_for",
    "convert_functions",
    "fold",
    "forward",
    "half_precision",
    "hidden_states",
    "in_precision",
    "initial_constants",
    "initial_parameters",
    "input_shapes",
    "parameter_shapes",
    "prepare_inputs",
    "read_model",
    "read_pretrained",
    "resolve_model",
    "stages",
    "write_model",
]
