"""Models by their name on a hub, `hub:owner/name` or `hub:owner/name@revision`, where one can be reached.

Only configuration, tokenizer or image processor, and weights are fetched, never code, and no pickles where there are
safetensors; what was fetched before is used again where the hub does not answer. Which hub, and where files are kept,
is `huggingface_hub`'s to configure (`HF_ENDPOINT`, `HF_HOME`).
"""

from __future__ import annotations

from pathlib import Path

from ...errors import UserError
from . import sentence_encoder

PREFIX = "hub:"
_FILES = (
    "config.json", "model.safetensors", "model.safetensors.index.json", "model-*.safetensors",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "spm.model", "sentencepiece.bpe.model",
    "preprocessor_config.json", *sentence_encoder.FILES,
)  # fmt: skip
_WITHOUT_SAFETENSORS = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin")
"""Which nothing but tensors is read of."""


def repository_of(name: str) -> str | None:
    """`owner/name` of a model that is named by its place on a hub; None: it is a directory."""
    return name.removeprefix(PREFIX).partition("@")[0] if name.startswith(PREFIX) else None


def fetch_model(name: str) -> Path:
    """The directory of a model on the hub, fetched if need be.

    Raises:
        UserError: no such model or revision, or no hub to be reached and nothing kept from before.
    """
    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
    except ImportError:
        raise UserError(f"{name}: needs the package huggingface_hub; install it, or name a directory") from None
    try:
        fetched = Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(_FILES)))
        if not any(fetched.glob("model*.safetensors")):
            both = [*_FILES, *_WITHOUT_SAFETENSORS]
            fetched = Path(snapshot_download(repository, revision=revision or None, allow_patterns=both))
        return fetched
    except HFValidationError:
        raise UserError(
            f"{name}: not a name on a hub; write {PREFIX}owner/name, or {PREFIX}owner/name@revision"
        ) from None
    except RevisionNotFoundError:
        raise UserError(f"{name}: the hub has no revision '{revision}' of this model") from None
    except RepositoryNotFoundError:
        raise UserError(f"{name}: the hub has no such model, or shows it only to those who log in") from None
    except Exception as error:  # whatever its HTTP client raises
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{name}: could not be fetched ({reason[0]}); download it elsewhere and name its directory"
        ) from None
