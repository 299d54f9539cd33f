"""Bytes from strangers into every parser that meets them: what comes out is a value, or the error that is declared."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spu
import yaml
from freediv.cluster.configuration import Agreement, Limits, read_owner_config, read_party_config
from freediv.cluster.identity import Role
from freediv.cluster.topology import read_topology
from freediv.conversion.student.recipe import read_recipe
from freediv.errors import UserError
from freediv.model import Certificate, read_model, read_tokenizer
from freediv.model.pieces.tokenizer import encode_counted
from freediv.mpc.sharing.settings import ProtocolSettings
from freediv.mpc.sharing.shares import Share, share
from freediv.mpc.spu.profile import Profile, read_profiles
from freediv.owners.model_owner import prepare_offer
from freediv.owners.served_model import read_bundle
from freediv.party.models.uploads import incoming_parameter
from freediv.party.requests import Inbox, Refused, check_inputs
from freediv.wire import protocol_pb2 as pb
from freediv.wire.share_transfer import BadTransfer, Incoming
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from tiny import architecture, make_tiny_model

REPOSITORY = Path(__file__).resolve().parents[2]
fuzz = settings(
    deadline=None,
    max_examples=100,
    # Each example overwrites the same file.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Sound content with a few cuts, repetitions and other bytes in it: most of it gets far into a parser."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(found)))
        end = min(len(found), start + draw(st.sampled_from([0, 1, 2, 8, 100])))
        found[start:end] = draw(st.one_of(st.binary(max_size=8), st.just(bytes(found[start : start + 50]) * 2)))
    return bytes(found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def altered(draw: st.DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    """A sound document with other values at a few of its keys, at any depth."""
    found = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = found
        while True:
            keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.booleans()):
                place = place[key]
                continue
            place[key] = draw(JSON)
            break
    return found


# --- YAML: topologies, roles' configurations, recipes ---

TOPOLOGY = (REPOSITORY / "configs" / "three-hosts.yaml").read_bytes()
READERS = (read_topology, read_party_config, read_owner_config, read_recipe)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "file"


@settings(fuzz, max_examples=60)
@given(st.one_of(st.binary(max_size=200), damaged(TOPOLOGY), altered(yaml.safe_load(TOPOLOGY)).map(json.dumps)))
@example(b"? [a]\n: b")
@example(b"? {a: b}\n: c")
@example(b"[" * 5000)
@example(b"a: 2024-99-99")
@example(b"a: !!python/object/apply:os.system [id]")
@example(b"a: &a [*a]")
@example(b"a: !!binary '?'")
@example(b"a: " + b"9" * 5000)
def test_yaml_is_read_or_refused(file: Path, content: bytes | str) -> None:
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    for read in READERS:
        try:
            read(file)
        except UserError as error:
            assert "\n" not in str(error)


# --- models: config.json, safetensors, tokenizer.json ---


def read_offer(directory: Path) -> None:
    for read in (read_model, prepare_offer):
        try:
            read(directory)
        except UserError as error:
            assert str(directory) in str(error)


class Files:
    """A sound model's files, of which one is replaced at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sound = {path.name: path.read_bytes() for path in directory.iterdir()}

    def __getitem__(self, name: str) -> bytes:
        return self._sound[name]

    def with_other(self, name: str, content: bytes) -> Path:
        for other, sound in self._sound.items():
            (self._directory / other).write_bytes(content if other == name else sound)
        return self._directory


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(make_tiny_model(tmp_path_factory.mktemp("model")))


@fuzz
@given(st.data())
def test_a_config_is_read_or_refused(files: Files, data: st.DataObject) -> None:
    sound = files["config.json"]
    content = data.draw(st.one_of(damaged(sound), altered(json.loads(sound)).map(lambda d: json.dumps(d).encode())))
    read_offer(files.with_other("config.json", content))


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"model_type": "bert", "num_hidden_layers": Infinity, "num_labels": 1e9}',
        b'{"model_type": "bert", "num_labels": 1e18}',
        b'{"model_type": "bert", "num_hidden_layers": 1e30}',
    ],
)
def test_a_config_cannot_ask_for_much(files: Files, content: bytes) -> None:
    with pytest.raises(UserError, match=r"config\.json"):
        read_model(files.with_other("config.json", content))


@fuzz
@given(st.data())
def test_weights_are_read_or_refused(files: Files, data: st.DataObject) -> None:
    sound = files["model.safetensors"]
    size = 8 + struct.unpack("<Q", sound[:8])[0]
    head = data.draw(damaged(sound[8:size]))
    content = data.draw(
        st.sampled_from([struct.pack("<Q", len(head)) + head + sound[size:], sound[:8] + head + sound[size:]])
        | damaged(sound)
    )
    read_offer(files.with_other("model.safetensors", content))


def test_a_weight_that_is_no_number_is_refused(files: Files) -> None:
    sound = files["model.safetensors"]
    size = 8 + struct.unpack("<Q", sound[:8])[0]
    content = sound[:size] + np.float32(np.nan).tobytes() * ((len(sound) - size) // 4)
    with pytest.raises(UserError, match="a number that is not finite"):
        read_model(files.with_other("model.safetensors", content))


@fuzz
@given(st.data())
def test_a_tokenizer_is_read_or_refused(files: Files, data: st.DataObject) -> None:
    sound = files["tokenizer.json"]
    content = data.draw(st.one_of(damaged(sound), altered(json.loads(sound)).map(lambda d: json.dumps(d).encode())))
    directory = files.with_other("tokenizer.json", content)
    read_offer(directory)
    try:
        tokenizer = read_tokenizer(directory)
    except UserError as error:
        assert "tokenizer.json" in str(error) and str(error).isprintable()
    else:
        for text in ("a warm film", "İ ﬃ ﷺ \u200b 中 😀", ("[CLS]", "##s [UNK]")):
            with contextlib.suppress(ValueError):
                list(encode_counted(tokenizer, [text]))
    bundle = pb.Bundle(architecture=read_model(directory).architecture.model_dump_json())
    bundle.tokenizer = content.decode("utf-8", "replace")
    read_or_refuse_bundle(bundle.SerializeToString())


@fuzz
@given(data=st.data())
def test_a_tokenizers_settings_are_read_or_refused(
    files: Files, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("settings")
    tokenizer = json.loads(files["tokenizer.json"]) | {"normalizer": {"type": "BertNormalizer"}}
    (directory / "tokenizer.json").write_text(json.dumps(data.draw(st.just(tokenizer) | altered(tokenizer))))
    sound = json.dumps(SETTINGS).encode()
    (directory / "tokenizer_config.json").write_bytes(
        data.draw(damaged(sound) | altered(SETTINGS).map(lambda found: json.dumps(found).encode()))
    )
    try:
        read_tokenizer(directory)
    except UserError as error:
        assert str(directory) in str(error) and str(error).isprintable()


SETTINGS: dict[str, Any] = {
    "tokenizer_class": "BertTokenizer", "do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True,
    "added_tokens_decoder": {"2": {"content": "[CLS]", "special": True}},
}  # fmt: skip


@fuzz
@given(st.binary(max_size=200))
def test_a_bundle_is_read_or_refused(content: bytes) -> None:
    read_or_refuse_bundle(content)


@fuzz
@given(data=st.data())
def test_a_bundle_with_other_parts_is_read_or_refused(files: Files, data: st.DataObject) -> None:
    sound = pb.Bundle.FromString(prepare_offer(files.with_other("", b""), without_headroom=True).bundle)
    architecture = json.loads(sound.architecture) | {"embedding": "public"}
    table = save({"word": np.zeros((architecture["vocabulary"], architecture["embedding_size"]), np.float32)})
    certificate = Certificate(headroom_bits=3).model_dump()
    bundle = pb.Bundle(
        architecture=json.dumps(data.draw(st.just(architecture) | altered(architecture))),
        tokenizer=sound.tokenizer,
        word_table=data.draw(st.just(table) | damaged(table)),
        certificate=json.dumps(data.draw(st.just(certificate) | altered(certificate))),
    )
    read_or_refuse_bundle(bundle.SerializeToString())


def read_or_refuse_bundle(content: bytes) -> None:
    try:
        architecture, _, table, _ = read_bundle(content)
    except UserError as error:
        assert "bundle" in str(error) and str(error).isprintable()
    else:
        assert all(name.isprintable() for name in architecture.label_names)
        if architecture.embedding == "public":
            assert table is not None and table.shape == (architecture.vocabulary, architecture.embedding_size)


# --- messages ---

ALICE = Role("lab", "data-owner", name="alice")
ARCHITECTURE = architecture(layers=1, vocabulary=20, hidden=8, positions=40)
AGREEMENT = Agreement(cluster="lab", max_batch=4)
LIMITS = Limits(waiting_bytes=1 << 20)
DESCRIPTIONS = st.builds(
    pb.ShareDescription,
    stage=st.sampled_from(["", "embedding", "../x"]),
    name=st.sampled_from(["pieces", "one_hot", "mask_over_length", "../../etc/passwd"]),
    meta=st.binary(max_size=40),
    chunk_bytes=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 9000), max_size=4),
)
HEADERS = st.builds(
    pb.InferHeader,
    request_id=st.binary(max_size=20) | st.binary(min_size=16, max_size=16),
    model_id=st.sampled_from(["0" * 32, "../" * 8, ""]),
    batch=st.integers(0, 2**32 - 1) | st.integers(1, 4),
    length=st.integers(0, 2**32 - 1) | st.sampled_from([16, 32]),
    inputs=st.lists(DESCRIPTIONS, max_size=4),
)


@fuzz
@given(st.binary(max_size=300))
def test_messages_are_parsed_or_refused(content: bytes) -> None:
    for message in (pb.LoadMessage, pb.InferMessage, pb.GetModelRequest, pb.ActivateRequest, pb.PartyState, pb.Bundle):
        found: Message = message()
        try:
            found.ParseFromString(content)
        except DecodeError:
            continue
        repr(found)


@fuzz
@given(HEADERS)
def test_a_request_is_admitted_within_its_bounds_or_refused(header: pb.InferHeader) -> None:
    inbox = Inbox(AGREEMENT, LIMITS, 1)
    try:
        request = inbox.admit(ALICE, header, "0" * 32, ARCHITECTURE)
    except Refused as error:
        assert "\n" not in str(error)
        assert len(inbox) == 0
        return
    assert request.nbytes <= LIMITS.waiting_bytes
    assert set(request.shapes) == {one.name for one in header.inputs}


@fuzz
@given(
    st.lists(st.builds(pb.LoadMessage, data=st.binary(max_size=60)) | st.builds(pb.LoadMessage, share=DESCRIPTIONS)),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
def test_a_parameter_is_taken_or_refused(messages: list[pb.LoadMessage], shape: tuple[int, int]) -> None:
    stream = iter(messages)

    async def read() -> Any:
        return next(stream, None)

    async def take() -> None:
        found = await incoming_parameter(Incoming(read), "embedding", "one_hot", shape)
        found.check(shape, AGREEMENT.settings)

    with pytest.raises((BadTransfer, ValueError)):
        asyncio.run(take())


SPUS = Share.from_spu(
    spu.Io(3, AGREEMENT.settings.runtime_config()).make_shares(np.ones((2, 3)), spu.Visibility.VIS_SECRET)[0]
)
METAS = st.one_of(
    st.binary(max_size=60),
    st.builds(  # parts in SPU's own form, with which an owner has nothing to do
        lambda parts, own, kind: json.dumps(
            {"storage_type": kind, "shape": [2, 3], "parts": parts, "spu": own}
        ).encode(),
        st.lists(st.sampled_from(["spu", "seed", "words"]), max_size=3),
        st.sampled_from(["", "00", json.loads(SPUS.meta)["spu"]]) | st.binary(max_size=30).map(bytes.hex),
        st.sampled_from(["aby3.AShr<FM64>", "aby3.AShr<FM128>", ""]),
    ),
    altered(json.loads(SPUS.meta)).map(lambda d: json.dumps(d).encode()),
    altered(json.loads(share(np.ones((2, 3)))[0].meta)).map(lambda d: json.dumps(d).encode()),
    damaged(share(np.ones((2, 3)))[2].meta),
)


@fuzz
@example(b'{"storage_type": "aby3.AShr<FM64>", "shape": [2, 3], "parts": ["spu", "spu"]}', [bytes(48), bytes(48)])
@given(METAS, st.lists(st.binary(max_size=60) | st.sampled_from([bytes(48), bytes(16), *SPUS.chunks]), max_size=3))
def test_a_share_that_passes_has_the_words_that_its_shape_says(meta: bytes, chunks: list[bytes]) -> None:
    part = Share(meta, tuple(chunks))
    try:
        part.check((2, 3), AGREEMENT.settings)
    except ValueError:
        with pytest.raises(Refused):
            check_inputs({"x": part}, {"x": (2, 3)}, AGREEMENT.settings)
        return
    assert [word.shape for word in part.words()] == [(2, 3)] * 2
    part.to_spu()


WIDE = ProtocolSettings(field="FM128")
WIDES = share(np.ones((2, 3)), WIDE)[0]


@fuzz
@example(WIDES.meta, list(WIDES.chunks))
@given(
    st.just(WIDES.meta) | damaged(WIDES.meta) | altered(json.loads(WIDES.meta)).map(lambda d: json.dumps(d).encode()),
    st.lists(st.just(WIDES.chunks[0]) | damaged(WIDES.chunks[0]), min_size=1, max_size=2),
)
def test_what_reaches_spus_parser_is_as_spu_writes_it(meta: bytes, chunks: list[bytes]) -> None:
    """In the wider ring shares keep SPU's own form: of the description every byte, of the content how it is framed."""
    part = Share(meta, tuple(chunks))
    try:
        part.check((2, 3), WIDE)
    except ValueError as error:
        assert "\n" not in str(error)
        return
    held = part.to_spu()
    assert held.meta == WIDES.to_spu().meta
    assert [len(chunk) for chunk in held.share_chunks] == [len(WIDES.chunks[0])]
    assert held.share_chunks[0][:6] == WIDES.chunks[0][:6]


# --- the log in which SPU counts ---

AT = "2026-01-02 03:04:05.678 [info] [api.cc:printProfilingData:163]"
LINES = [
    f"{AT} [Profiling] SPU execution classifier completed, input processing took 1e-06s, total time 0.25s.",
    f"{AT} HLO profiling: total time 0.24",
    f"{AT} - pphlo.dot, executed 2 times, duration 0.2s, send bytes 7 recv bytes 8, send actions 5, recv actions 6",
    f"{AT} - pphlo.dot, executed 2 times, duration 0.2.e-s, send bytes 7 recv bytes 8, send actions 5, recv actions 6",
    f"{AT} Link details: total send bytes 7, recv bytes 8, send actions 5, recv actions 6",
    f"{AT} Link details: total send bytes {'9' * 20}, recv bytes 8, send actions 5, recv actions 6",
]


@fuzz
@given(st.lists(st.sampled_from(LINES) | st.text(max_size=60)), st.data())
def test_a_log_is_read_or_refused(lines: list[str], data: st.DataObject) -> None:
    content = data.draw(
        st.just("\n".join(lines)) | damaged("\n".join(LINES).encode()).map(lambda b: b.decode("latin1"))
    )
    found: list[Profile] = []
    try:
        found = read_profiles(content)
    except ValueError as error:
        assert "\n" not in str(error)
    assert len(found) <= content.count("Link details")
