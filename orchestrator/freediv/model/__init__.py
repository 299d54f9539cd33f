"""The model: a BERT-family classifier as named stages of pure JAX functions. It knows nothing of MPC."""

from .architecture import BUCKETS, Architecture, LayerFunctions, LayerSizes, bucket_for
from .checkpoints.certificate import Certificate
from .checkpoints.checkpoint import (
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
from .checkpoints.storage import Weights
from .folding import fold
from .inputs import input_shapes, masks_of, prepare_inputs, published_rows
from .pieces.pairs import Text
from .pieces.word_pieces import beyond_table, encode
from .precision import Precision, half_precision, in_precision
from .reading import Given, Reader, read_reader
from .reading.tokenizer_directory import read_tokenizer, write_tokenizer
from .stage import BlockName, Dropout, Parameters, Stage
from .stages import answer, forward, hidden_states, parameter_shapes, stages

__all__ = [
    "BUCKETS",
    "Architecture",
    "BlockName",
    "Certificate",
    "Dropout",
    "Given",
    "LayerFunctions",
    "LayerSizes",
    "Model",
    "Parameters",
    "Precision",
    "Reader",
    "Stage",
    "Text",
    "Weights",
    "answer",
    "as_stored",
    "beyond_table",
    "bucket_for",
    "convert_functions",
    "encode",
    "fold",
    "forward",
    "half_precision",
    "hidden_states",
    "in_precision",
    "initial_constants",
    "initial_parameters",
    "input_shapes",
    "masks_of",
    "parameter_shapes",
    "prepare_inputs",
    "published_rows",
    "read_model",
    "read_pretrained",
    "read_reader",
    "read_tokenizer",
    "resolve_model",
    "stages",
    "write_model",
    "write_tokenizer",
]
