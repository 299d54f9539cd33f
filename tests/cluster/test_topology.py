"""Topologies: what is refused, and whether the line says where."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from freediv.cluster.topology import Topology, read_topology
from freediv.errors import UserError
from hypothesis import given
from hypothesis import strategies as st

REPOSITORY = Path(__file__).resolve().parents[2]


def party(rank: int, **changes: Any) -> dict[str, Any]:
    ports = {"grpc_port": 7000 + 10 * rank, "link_port": 7001 + 10 * rank, "metrics_port": 7002 + 10 * rank}
    return {"rank": rank, "host": "127.0.0.1"} | ports | changes


GOOD: dict[str, Any] = {"cluster": "lab", "parties": [party(0), party(1), party(2)]}


def read(tmp_path: Path, content: Any) -> Topology:
    path = tmp_path / "topology.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return read_topology(path)


def refused(tmp_path: Path, content: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "topology.yaml") in message
    return message


def changed(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(GOOD) | changes


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_topologies_are_good(path: Path) -> None:
    assert read_topology(path).cluster


def test_the_least_topology_is_three_parties_of_aby3(tmp_path: Path) -> None:
    topology = read(tmp_path, GOOD)
    assert (topology.protocol, topology.field, topology.fraction_bits) == ("ABY3", "FM64", 18)
    assert (topology.output, topology.products) == ("label", "shares")
    assert topology.buckets == (16, 32, 64, 128)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (changed(partys=[]), ("line 18, partys", "no such key")),
        (changed(parties=[party(0), party(1, prot=1), party(2)]), ("line 13, parties[1].prot", "no such key")),
        (
            changed(parties=[party(0), party(1), party(1, grpc_port=1, link_port=2, metrics_port=3)]),
            ("parties[2].rank",),
        ),
        (changed(parties=[party(0), party(1)]), ("ABY3 needs 3", "2 are listed")),
        (
            changed(parties=[party(0), party(1), party(2, grpc_port=7001)]),
            ("parties[2].grpc_port", "parties[0].link_port"),
        ),
        (
            changed(parties=[party(0), party(1), party(2, host="localhost", metrics_port=7002)]),
            ("parties[2].metrics_port", "parties[0].metrics_port"),
        ),
        (changed(parties=[party(0), party(1), party(2, grpc_port=70000)]), ("line 15, parties[2].grpc_port",)),
        (
            changed(parties=[party(0), party(1), party(2, host="a b")]),
            ("parties[2].host", "neither a host name nor an IP"),
        ),
        (changed(field="FM32"), ("field", "FM32 is refused", "use FM64")),
        (changed(protocol="SEMI2K", parties=[party(0), party(1)]), ("trusted first party", "beaver")),
        (changed(beaver="trusted-first-party"), ("beaver is only for SEMI2K",)),
        (changed(cluster="My Lab"), ("line 1, cluster",)),
        (changed(buckets=[32, 16]), ("buckets must grow",)),
        (changed(products="spu", batching={"lanes": 2}), ("batching.lanes", "`products: shares`")),
        (changed(output="all"), ("line 18, output", "'label', 'logits', 'order' or 'threshold'")),
        (changed(data_owners=["a", "a"]), ("data_owners", "twice")),
        (changed(limits={"arrival_s": -1}), ("limits.arrival_s", "greater than 0")),
        ({"cluster": "lab"}, ("parties: is missing",)),
        ("cluster: lab\ncluster: other\n", ("line 2", "key 'cluster' is given twice")),
        ("cluster: [\n", ("line 2",)),
        ("- 1\n", ("must be a YAML mapping",)),
        ("a: &x 1\nb: *x\n", ("aliases",)),
        ("", ("must be a YAML mapping",)),
        ("cluster: !!python/object:os.system x\n", ("could not determine a constructor",)),
    ],
)
def test_bad_topologies_are_refused_with_the_place(tmp_path: Path, content: Any, parts: tuple[str, ...]) -> None:
    message = refused(tmp_path, content)
    for part in parts:
        assert part in message


CHANGES = {"max_batch": ("max_batch: 8", "max_batch: VALUE"), "port": ("grpc_port: 7000", "grpc_port: VALUE")}


@pytest.mark.parametrize(("key", "value"), [("max_batch", "yes"), ("port", "70:00"), ("max_batch", "on")])
def test_a_word_is_no_number(tmp_path: Path, key: str, value: str) -> None:
    """YAML 1.1 took `yes` for 1 and `70:00` for 4200."""
    text = yaml.safe_dump(changed(max_batch=8)).replace(*CHANGES[key], 1).replace("VALUE", value)
    assert "valid integer" in refused(tmp_path, text)


def test_a_truth_is_no_number(tmp_path: Path) -> None:
    """`true` would be read as 1."""
    text = f"{yaml.safe_dump(changed())}max_batch: true\n"
    assert "max_batch: true is no number" in refused(tmp_path, text)


def test_a_word_is_no_truth_and_a_leading_zero_no_octal(tmp_path: Path) -> None:
    assert read(tmp_path, f"{yaml.safe_dump(changed())}max_batch: 010\n").max_batch == 10
    text = yaml.safe_dump(changed()).replace("cluster: lab", "cluster: no")
    assert read(tmp_path, text).cluster == "no"


def test_semi2k_runs_when_its_source_is_asked_for_by_name(tmp_path: Path) -> None:
    topology = read(tmp_path, changed(protocol="SEMI2K", beaver="trusted-first-party", parties=[party(0), party(1)]))
    assert topology.world_size == 2


def test_one_port_may_serve_on_several_hosts(tmp_path: Path) -> None:
    parties = [party(0, metrics_port=7020) | {"host": f"host-{rank}.example.org", "rank": rank} for rank in range(3)]
    assert read(tmp_path, changed(parties=parties)).world_size == 3


ELSEWHERE = {
    "a host's name": [party(0, host="alpha"), party(1, host="beta"), party(2, host="gamma")],
    "an address of a network": [party(rank, host=f"10.0.0.{rank}", metrics_port=7020) for rank in range(3)],
    "one party on a network": [party(0), party(1), party(2, host="gamma", grpc_port=7100, link_port=7110)],
    "the link on another address": [
        party(rank, link_host=f"10.0.0.{rank}", link_port=7100 + 10 * rank) for rank in range(3)
    ],
    "names that begin as loopback does": [party(rank, host=f"127.{name}.org") for rank, name in enumerate("abc")],
    "every address": [party(rank, host="::", grpc_port=7100 + rank, link_port=7200 + 10 * rank) for rank in range(3)],
}


@pytest.mark.parametrize("where", ELSEWHERE)
def test_a_party_that_is_not_on_loopback_has_a_gateway(tmp_path: Path, where: str) -> None:
    """A link on a network that no gateway guards: every party there has one, and `gateway: false` is refused."""
    parties = [one | {"metrics_port": one["metrics_port"] + 400} for one in ELSEWHERE[where]]
    assert read(tmp_path, changed(parties=parties)).has_gateway
    message = refused(tmp_path, changed(parties=parties, gateway=False))
    assert "gateway: party" in message
    assert "not on loopback" in message
    assert "remove `gateway: false`" in message


def test_parties_on_loopback_need_no_gateway(tmp_path: Path) -> None:
    assert not read(tmp_path, GOOD).has_gateway
    mine = [party(rank, host="localhost", link_host="::1" if rank else "127.0.0.9") for rank in range(3)]
    assert not read(tmp_path, changed(parties=mine, gateway=False)).has_gateway
    # Owners reach them over the network, and the link stays on the machine.
    served = [party(rank, host="alpha.example.org", link_host="127.0.0.1") for rank in range(3)]
    assert not read(tmp_path, changed(parties=served)).has_gateway


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_topology(tmp_path / "gone.yaml")
    with pytest.raises(UserError, match=r"(?i)is a directory"):
        read_topology(tmp_path)
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"cluster: \xe9")
    with pytest.raises(UserError, match="not UTF-8"):
        read_topology(path)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
KEYS = st.sampled_from(["cluster", "parties", "rank", "host", "field", "buckets", "limits"]) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=20
)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_yaml_is_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    try:
        read_topology(path)
    except UserError as error:
        assert "\n" not in str(error)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_topology(path)
    assert "\n" not in str(caught.value)
