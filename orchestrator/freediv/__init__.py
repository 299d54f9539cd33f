"""Private inference with division-free Transformers under secure multi-party computation.

What other programs may build on; docs/python.md has examples. A name loads what it needs when it is first asked for:
`import freediv` alone loads neither JAX nor SPU.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

# gRPC prints what its connections go through; `wire.channels.explain` says it once. Set before grpc is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

if TYPE_CHECKING:
    from .cluster.topology import Topology, read_topology
    from .conversion.converting import Conversion, convert
    from .conversion.finetuning import FinetuneSettings, finetune
    from .conversion.making import Made, Making
    from .conversion.measures.evaluation import Estimate, Evaluation
    from .conversion.measures.predicting import Plaintext, predict
    from .conversion.measures.predictions import evaluate, logits_of
    from .conversion.student.recipe import Recipe, read_recipe
    from .conversion.texts.examples import Examples, read_examples
    from .deploy.local import LocalDeployment
    from .deploy.render import Rendered, render
    from .errors import UserError
    from .model.answers.answer import Prediction
    from .model.architecture import Architecture, LayerFunctions
    from .model.checkpoints.checkpoint import Model, read_model, write_model
    from .model.folding import fold
    from .model.inputs import prepare_inputs
    from .model.pieces.word_pieces import encode
    from .model.reading.tokenizer_directory import read_tokenizer
    from .model.stages import forward
    from .owners.async_client import AsyncClient, connect_async
    from .owners.client import Client, connect
    from .owners.costs import CallCost
    from .owners.data_owner import Answers, PartlyAnswered, infer
    from .owners.model_owner import Loading, load
    from .owners.results import Classification, Embedding, Results, Score, Tags

    __version__: str

_HOMES = {
    "Topology": "cluster.topology",
    "read_topology": "cluster.topology",
    "Conversion": "conversion.converting",
    "convert": "conversion.converting",
    "FinetuneSettings": "conversion.finetuning",
    "finetune": "conversion.finetuning",
    "Made": "conversion.making",
    "Making": "conversion.making",
    "Estimate": "conversion.measures.evaluation",
    "Evaluation": "conversion.measures.evaluation",
    "Plaintext": "conversion.measures.predicting",
    "predict": "conversion.measures.predicting",
    "evaluate": "conversion.measures.predictions",
    "logits_of": "conversion.measures.predictions",
    "Recipe": "conversion.student.recipe",
    "read_recipe": "conversion.student.recipe",
    "Examples": "conversion.texts.examples",
    "read_examples": "conversion.texts.examples",
    "LocalDeployment": "deploy.local",
    "Rendered": "deploy.render",
    "render": "deploy.render",
    "UserError": "errors",
    "Prediction": "model.answers.answer",
    "Architecture": "model.architecture",
    "LayerFunctions": "model.architecture",
    "Model": "model.checkpoints.checkpoint",
    "read_model": "model.checkpoints.checkpoint",
    "write_model": "model.checkpoints.checkpoint",
    "fold": "model.folding",
    "prepare_inputs": "model.inputs",
    "read_tokenizer": "model.reading.tokenizer_directory",
    "encode": "model.pieces.word_pieces",
    "forward": "model.stages",
    "AsyncClient": "owners.async_client",
    "connect_async": "owners.async_client",
    "Client": "owners.client",
    "connect": "owners.client",
    "CallCost": "owners.costs",
    "Answers": "owners.data_owner",
    "PartlyAnswered": "owners.data_owner",
    "infer": "owners.data_owner",
    "Loading": "owners.model_owner",
    "load": "owners.model_owner",
    "Classification": "owners.results",
    "Embedding": "owners.results",
    "Results": "owners.results",
    "Score": "owners.results",
    "Tags": "owners.results",
}
"""Where names are found as the program runs; the imports above tell type checkers the same."""

__all__ = [
    "Answers",
    "Architecture",
    "AsyncClient",
    "CallCost",
    "Classification",
    "Client",
    "Conversion",
    "Embedding",
    "Estimate",
    "Evaluation",
    "Examples",
    "FinetuneSettings",
    "LayerFunctions",
    "Loading",
    "LocalDeployment",
    "Made",
    "Making",
    "Model",
    "PartlyAnswered",
    "Plaintext",
    "Prediction",
    "Recipe",
    "Rendered",
    "Results",
    "Score",
    "Tags",
    "Topology",
    "UserError",
    "__version__",
    "connect",
    "connect_async",
    "convert",
    "encode",
    "evaluate",
    "finetune",
    "fold",
    "forward",
    "infer",
    "load",
    "logits_of",
    "predict",
    "prepare_inputs",
    "read_examples",
    "read_model",
    "read_recipe",
    "read_tokenizer",
    "read_topology",
    "render",
    "write_model",
]

if not TYPE_CHECKING:  # else every name would be one

    def __getattr__(name: str) -> object:
        if name == "__version__":
            found = import_module("importlib.metadata").version("freediv")
        elif name in _HOMES:
            found = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return __all__
