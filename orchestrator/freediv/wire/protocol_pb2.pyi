from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LoadMessage(_message.Message):
    __slots__ = ("header", "share", "data")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    header: LoadHeader
    share: ShareDescription
    data: bytes
    def __init__(self, header: _Optional[_Union[LoadHeader, _Mapping]] = ..., share: _Optional[_Union[ShareDescription, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class LoadHeader(_message.Message):
    __slots__ = ("model_id", "agreement", "bundle_bytes", "bundle_sha256", "fresh_budget")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_SHA256_FIELD_NUMBER: _ClassVar[int]
    FRESH_BUDGET_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    agreement: str
    bundle_bytes: int
    bundle_sha256: str
    fresh_budget: bool
    def __init__(self, model_id: _Optional[str] = ..., agreement: _Optional[str] = ..., bundle_bytes: _Optional[int] = ..., bundle_sha256: _Optional[str] = ..., fresh_budget: _Optional[bool] = ...) -> None: ...

class ShareDescription(_message.Message):
    __slots__ = ("stage", "name", "meta", "chunk_bytes")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    stage: str
    name: str
    meta: bytes
    chunk_bytes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, stage: _Optional[str] = ..., name: _Optional[str] = ..., meta: _Optional[bytes] = ..., chunk_bytes: _Optional[_Iterable[int]] = ...) -> None: ...

class Held(_message.Message):
    __slots__ = ("bundle", "parameters")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    bundle: bool
    parameters: int
    def __init__(self, bundle: _Optional[bool] = ..., parameters: _Optional[int] = ...) -> None: ...

class ActivateRequest(_message.Message):
    __slots__ = ("model_id",)
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    def __init__(self, model_id: _Optional[str] = ...) -> None: ...

class ActivateEvent(_message.Message):
    __slots__ = ("step", "fraction")
    STEP_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    step: str
    fraction: float
    def __init__(self, step: _Optional[str] = ..., fraction: _Optional[float] = ...) -> None: ...

class Bundle(_message.Message):
    __slots__ = ("architecture", "tokenizer", "word_table", "certificate")
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_FIELD_NUMBER: _ClassVar[int]
    WORD_TABLE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    architecture: str
    tokenizer: str
    word_table: bytes
    certificate: str
    def __init__(self, architecture: _Optional[str] = ..., tokenizer: _Optional[str] = ..., word_table: _Optional[bytes] = ..., certificate: _Optional[str] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("agreement", "with_bundle")
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    WITH_BUNDLE_FIELD_NUMBER: _ClassVar[int]
    agreement: str
    with_bundle: bool
    def __init__(self, agreement: _Optional[str] = ..., with_bundle: _Optional[bool] = ...) -> None: ...

class ModelMessage(_message.Message):
    __slots__ = ("description", "data")
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    description: ModelDescription
    data: bytes
    def __init__(self, description: _Optional[_Union[ModelDescription, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class ModelDescription(_message.Message):
    __slots__ = ("model_id", "bundle_bytes", "bundle_sha256")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_SHA256_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    bundle_bytes: int
    bundle_sha256: str
    def __init__(self, model_id: _Optional[str] = ..., bundle_bytes: _Optional[int] = ..., bundle_sha256: _Optional[str] = ...) -> None: ...

class InferMessage(_message.Message):
    __slots__ = ("header", "data")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    header: InferHeader
    data: bytes
    def __init__(self, header: _Optional[_Union[InferHeader, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class InferHeader(_message.Message):
    __slots__ = ("request_id", "model_id", "batch", "length", "inputs")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    request_id: bytes
    model_id: str
    batch: int
    length: int
    inputs: _containers.RepeatedCompositeFieldContainer[ShareDescription]
    def __init__(self, request_id: _Optional[bytes] = ..., model_id: _Optional[str] = ..., batch: _Optional[int] = ..., length: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[ShareDescription, _Mapping]]] = ...) -> None: ...

class InferEvent(_message.Message):
    __slots__ = ("queued", "stage", "result", "data")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    queued: Queued
    stage: Stage
    result: Result
    data: bytes
    def __init__(self, queued: _Optional[_Union[Queued, _Mapping]] = ..., stage: _Optional[_Union[Stage, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Queued(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Stage(_message.Message):
    __slots__ = ("stage", "layer", "block", "seconds", "sent_bytes", "received_bytes", "sent_messages", "received_messages")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SENT_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    stage: str
    layer: int
    block: str
    seconds: float
    sent_bytes: int
    received_bytes: int
    sent_messages: int
    received_messages: int
    def __init__(self, stage: _Optional[str] = ..., layer: _Optional[int] = ..., block: _Optional[str] = ..., seconds: _Optional[float] = ..., sent_bytes: _Optional[int] = ..., received_bytes: _Optional[int] = ..., sent_messages: _Optional[int] = ..., received_messages: _Optional[int] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("output", "link_sent_bytes", "link_received_bytes", "link_sent_messages", "link_received_messages", "peak_memory_bytes", "preparation_seconds", "run_requests", "run_sentences")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    LINK_SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    LINK_RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    LINK_SENT_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    LINK_RECEIVED_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PREPARATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RUN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    RUN_SENTENCES_FIELD_NUMBER: _ClassVar[int]
    output: ShareDescription
    link_sent_bytes: int
    link_received_bytes: int
    link_sent_messages: int
    link_received_messages: int
    peak_memory_bytes: int
    preparation_seconds: float
    run_requests: int
    run_sentences: int
    def __init__(self, output: _Optional[_Union[ShareDescription, _Mapping]] = ..., link_sent_bytes: _Optional[int] = ..., link_received_bytes: _Optional[int] = ..., link_sent_messages: _Optional[int] = ..., link_received_messages: _Optional[int] = ..., peak_memory_bytes: _Optional[int] = ..., preparation_seconds: _Optional[float] = ..., run_requests: _Optional[int] = ..., run_sentences: _Optional[int] = ...) -> None: ...

class InspectRequest(_message.Message):
    __slots__ = ("agreement",)
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    agreement: str
    def __init__(self, agreement: _Optional[str] = ...) -> None: ...

class PartyState(_message.Message):
    __slots__ = ("rank", "agreement", "epoch", "link_up", "model_id", "loaded", "stored", "loading", "waiting_requests", "worker_restarts", "peak_memory_bytes", "problem", "worker_pid", "computing", "quotas", "memory_bytes", "beside")
    RANK_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LINK_UP_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    LOADING_FIELD_NUMBER: _ClassVar[int]
    WAITING_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    WORKER_RESTARTS_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    WORKER_PID_FIELD_NUMBER: _ClassVar[int]
    COMPUTING_FIELD_NUMBER: _ClassVar[int]
    QUOTAS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    BESIDE_FIELD_NUMBER: _ClassVar[int]
    rank: int
    agreement: str
    epoch: int
    link_up: bool
    model_id: str
    loaded: str
    stored: _containers.RepeatedCompositeFieldContainer[StoredModel]
    loading: float
    waiting_requests: int
    worker_restarts: int
    peak_memory_bytes: int
    problem: str
    worker_pid: int
    computing: bool
    quotas: _containers.RepeatedCompositeFieldContainer[OwnerQuota]
    memory_bytes: int
    beside: str
    def __init__(self, rank: _Optional[int] = ..., agreement: _Optional[str] = ..., epoch: _Optional[int] = ..., link_up: _Optional[bool] = ..., model_id: _Optional[str] = ..., loaded: _Optional[str] = ..., stored: _Optional[_Iterable[_Union[StoredModel, _Mapping]]] = ..., loading: _Optional[float] = ..., waiting_requests: _Optional[int] = ..., worker_restarts: _Optional[int] = ..., peak_memory_bytes: _Optional[int] = ..., problem: _Optional[str] = ..., worker_pid: _Optional[int] = ..., computing: _Optional[bool] = ..., quotas: _Optional[_Iterable[_Union[OwnerQuota, _Mapping]]] = ..., memory_bytes: _Optional[int] = ..., beside: _Optional[str] = ...) -> None: ...

class StoredModel(_message.Message):
    __slots__ = ("model_id", "about", "uploaded", "fresh_budget")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    ABOUT_FIELD_NUMBER: _ClassVar[int]
    UPLOADED_FIELD_NUMBER: _ClassVar[int]
    FRESH_BUDGET_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    about: str
    uploaded: float
    fresh_budget: bool
    def __init__(self, model_id: _Optional[str] = ..., about: _Optional[str] = ..., uploaded: _Optional[float] = ..., fresh_budget: _Optional[bool] = ...) -> None: ...

class OwnerQuota(_message.Message):
    __slots__ = ("owner", "sentences_per_minute", "left_this_minute", "budget", "left_of_budget")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SENTENCES_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    LEFT_THIS_MINUTE_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    LEFT_OF_BUDGET_FIELD_NUMBER: _ClassVar[int]
    owner: str
    sentences_per_minute: int
    left_this_minute: int
    budget: int
    left_of_budget: int
    def __init__(self, owner: _Optional[str] = ..., sentences_per_minute: _Optional[int] = ..., left_this_minute: _Optional[int] = ..., budget: _Optional[int] = ..., left_of_budget: _Optional[int] = ...) -> None: ...

class EstablishRequest(_message.Message):
    __slots__ = ("epoch", "model_id", "incarnation", "secret")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    model_id: str
    incarnation: bytes
    secret: bytes
    def __init__(self, epoch: _Optional[int] = ..., model_id: _Optional[str] = ..., incarnation: _Optional[bytes] = ..., secret: _Optional[bytes] = ...) -> None: ...

class PreloadRequest(_message.Message):
    __slots__ = ("model_id",)
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    def __init__(self, model_id: _Optional[str] = ...) -> None: ...

class PreloadReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class KeepRequest(_message.Message):
    __slots__ = ("model_id",)
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    def __init__(self, model_id: _Optional[str] = ...) -> None: ...

class KeepReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExecuteRequest(_message.Message):
    __slots__ = ("parts", "epoch", "model_id", "length")
    PARTS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    epoch: int
    model_id: str
    length: int
    def __init__(self, parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., epoch: _Optional[int] = ..., model_id: _Optional[str] = ..., length: _Optional[int] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("request", "batch")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    request: str
    batch: int
    def __init__(self, request: _Optional[str] = ..., batch: _Optional[int] = ...) -> None: ...

class ExecuteReply(_message.Message):
    __slots__ = ("outcome", "cause")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ANSWERED: _ClassVar[ExecuteReply.Outcome]
        PEER_LOST: _ClassVar[ExecuteReply.Outcome]
        FAILED: _ClassVar[ExecuteReply.Outcome]
        REFUSED: _ClassVar[ExecuteReply.Outcome]
    ANSWERED: ExecuteReply.Outcome
    PEER_LOST: ExecuteReply.Outcome
    FAILED: ExecuteReply.Outcome
    REFUSED: ExecuteReply.Outcome
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    outcome: ExecuteReply.Outcome
    cause: str
    def __init__(self, outcome: _Optional[_Union[ExecuteReply.Outcome, str]] = ..., cause: _Optional[str] = ...) -> None: ...

class DropRequest(_message.Message):
    __slots__ = ("requests", "cause", "failed")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedScalarFieldContainer[str]
    cause: str
    failed: bool
    def __init__(self, requests: _Optional[_Iterable[str]] = ..., cause: _Optional[str] = ..., failed: _Optional[bool] = ...) -> None: ...

class DropReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ArrivedRequest(_message.Message):
    __slots__ = ("request", "model_id", "batch", "length")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    request: str
    model_id: str
    batch: int
    length: int
    def __init__(self, request: _Optional[str] = ..., model_id: _Optional[str] = ..., batch: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class ArrivedReply(_message.Message):
    __slots__ = ("refused", "incarnation")
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    refused: str
    incarnation: bytes
    def __init__(self, refused: _Optional[str] = ..., incarnation: _Optional[bytes] = ...) -> None: ...

class WithdrawnRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: str
    def __init__(self, request: _Optional[str] = ...) -> None: ...

class WithdrawnReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
