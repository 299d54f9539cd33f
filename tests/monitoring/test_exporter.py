"""A party's `/metrics` as Prometheus meets it: over HTTP, and scraped by the real program where it is installed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter

import pytest
from freediv.cluster.identity import Role
from freediv.cluster.ports import free_ports
from freediv.errors import UserError
from freediv.model import LayerFunctions
from freediv.monitoring.exporter import BuildInfo, Ledger, PartyStatus, serve_metrics
from freediv.mpc.records import StageRecord
from prometheus_client.parser import text_string_to_metric_families

BUILD = BuildInfo("0.9.5", "ABY3", "FM64", "2quad-freediv", "quad")


def status(link_up: bool = True, worker_restarts: int = 0, build: BuildInfo = BUILD) -> PartyStatus:
    return PartyStatus(link_up, worker_restarts, build)


def scrape(port: int) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Sample name -> labels -> value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return samples


def labelled(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def test_metrics_are_the_sums_of_the_records(make_run):
    ledger = Ledger()
    stages = make_run().requests[0].parties[1].stages
    for record in stages * 2:
        ledger.stage_finished(record)
    ledger.request_finished("answered", 2.0)
    ledger.request_finished("failed", 40.0)
    with serve_metrics(ledger, status, host="127.0.0.1", port=0) as port:
        seen = scrape(port)
    assert len(seen["freediv_layer_sent_bytes_total"]) == len(stages)
    for record in stages:
        layer = record.block if record.layer is None else str(record.layer)
        labels = labelled(layer=layer, block=record.block)
        assert seen["freediv_layer_sent_bytes_total"][labels] == 2 * record.sent_bytes
        assert seen["freediv_layer_received_bytes_total"][labels] == 2 * record.received_bytes
        assert seen["freediv_layer_messages_total"][labels] == 2 * record.sent_messages
        assert seen["freediv_layer_seconds_sum"][labels] == pytest.approx(2 * record.seconds)
        assert seen["freediv_layer_seconds_count"][labels] == 2
        within = labelled(layer=layer, block=record.block, le="0.1")
        assert seen["freediv_layer_seconds_bucket"][within] == (2 if record.seconds <= 0.1 else 0)
    assert seen["freediv_requests_total"] == {
        labelled(outcome="answered"): 1,
        labelled(outcome="failed"): 1,
        labelled(outcome="dropped"): 0,
        labelled(outcome="refused"): 0,
    }
    assert seen["freediv_request_seconds_sum"][()] == 42.0
    assert seen["freediv_request_seconds_bucket"][labelled(le="3.0")] == 1
    assert seen["freediv_request_seconds_bucket"][labelled(le="+Inf")] == 2
    info = labelled(spu="0.9.5", protocol="ABY3", field="FM64", attention="2quad-freediv", activation="quad")
    assert seen["freediv_build_info"] == {info: 1}


def test_a_fresh_party_shows_every_metric_but_no_others():
    with serve_metrics(Ledger(), status, host="127.0.0.1", port=0) as port:
        names = scrape(port).keys()
    assert set(names) == {
        "freediv_requests_total",
        "freediv_turned_away_total",
        "freediv_unsound_requests_of_one_owner",
        "freediv_request_seconds_bucket",
        "freediv_request_seconds_count",
        "freediv_request_seconds_sum",
        "freediv_link_up",
        "freediv_waiting_requests",
        "freediv_waiting_requests_limit",
        "freediv_least_budget_left_ratio",
        "freediv_worker_restarts_total",
        "freediv_build_info",
    }


def test_status_is_read_at_every_scrape():
    now = {"link_up": True, "worker_restarts": 0}
    with serve_metrics(Ledger(), lambda: status(**now), host="127.0.0.1", port=0) as port:
        assert scrape(port)["freediv_link_up"] == {(): 1}
        now.update(link_up=False, worker_restarts=3)
        seen = scrape(port)
    assert seen["freediv_link_up"] == {(): 0}
    assert seen["freediv_worker_restarts_total"] == {(): 3}


def test_who_waits_and_who_is_turned_away_is_counted_without_a_name():
    now = PartyStatus(True, 0, BUILD, waiting_requests=7, most_waiting=32, budgets_left=(1.0, 0.25, 0.5))
    ledger = Ledger()
    for limit in ("places", "rate", "rate"):
        ledger.turned_away(limit)
    for name in ("alice", "mallory", "mallory"):
        ledger.unsound(Role("lab", "data-owner", name=name))
    with serve_metrics(ledger, lambda: now, host="127.0.0.1", port=0) as port:
        seen = scrape(port)
    assert seen["freediv_waiting_requests"] == {(): 7}
    assert seen["freediv_waiting_requests_limit"] == {(): 32}
    assert seen["freediv_least_budget_left_ratio"] == {(): 0.25}
    assert seen["freediv_unsound_requests_of_one_owner"] == {(): 2}
    assert seen["freediv_turned_away_total"] == {
        labelled(limit="places"): 1,
        labelled(limit="bytes"): 0,
        labelled(limit="rate"): 2,
        labelled(limit="budget"): 0,
    }


def test_no_model_is_deep_enough_for_a_hundred_label_sets(make_run):
    ledger = Ledger()
    stages = make_run(layers=120).requests[0].parties[0].stages
    for record in stages:
        ledger.stage_finished(record)
    with serve_metrics(ledger, status, host="127.0.0.1", port=0) as port:
        seen = scrape(port)
    sent = seen["freediv_layer_sent_bytes_total"]
    assert len(sent) < 100
    assert sum(sent.values()) == sum(record.sent_bytes for record in stages)  # nothing is lost
    assert {labels for labels in sent if ("layer", "rest") in labels} == {
        labelled(layer="rest", block=block) for block in ("attention", "feed_forward", "classifier")
    }
    sets = Counter(name for name, samples in seen.items() for labels in samples if "le" not in dict(labels))
    assert max(sets.values()) < 100


def test_build_info_names_each_function_once(make_run):
    mixed = make_run(layers=3).architecture.model_copy(
        update={
            "functions": (
                LayerFunctions(attention="softmax", activation="gelu"),
                LayerFunctions(attention="2quad-freediv", activation="quad"),
                LayerFunctions(attention="2quad-freediv", activation="gelu"),
            )
        }
    )
    info = BuildInfo.of(mixed, spu="0.9.5", protocol="ABY3", field="FM64")
    assert (info.attention, info.activation) == ("2quad-freediv+softmax", "gelu+quad")
    assert BuildInfo.of(None, spu="0.9.5", protocol="ABY3", field="FM64").attention == "none"


def test_records_from_several_threads_are_all_counted():
    ledger = Ledger()
    record = StageRecord("embedding", None, "embedding", 0.01, 3, 5, 1, 1)

    def add() -> None:
        for _ in range(2000):
            ledger.stage_finished(record)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    with serve_metrics(ledger, status, host="127.0.0.1", port=0) as port:
        for _ in range(5):
            scrape(port)  # a scrape meets totals, never half of them
        for thread in threads:
            thread.join()
        seen = scrape(port)
    assert list(seen["freediv_layer_sent_bytes_total"].values()) == [3 * 8000]
    assert list(seen["freediv_layer_received_bytes_total"].values()) == [5 * 8000]


def test_a_metrics_port_in_use_is_a_users_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UserError, match=rf"127\.0\.0\.1:{port}.*in use"),
            serve_metrics(Ledger(), status, host="127.0.0.1", port=port),
        ):
            pass


def test_metrics_answer_on_the_configured_address_alone_and_end_with_the_party():
    with serve_metrics(Ledger(), status, host="127.0.0.2", port=0) as port:
        socket.create_connection(("127.0.0.2", port), timeout=5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)


@pytest.mark.parametrize("host", ["::", "0.0.0.0"])
def test_metrics_on_every_address_answer_on_those_of_both_families(host):
    if not socket.has_dualstack_ipv6():
        pytest.skip("needs IPv6")
    with serve_metrics(Ledger(), status, host=host, port=0) as port:
        for address in ("127.0.0.1", "[::1]"):
            with urllib.request.urlopen(f"http://{address}:{port}/metrics", timeout=30) as answer:
                assert b"freediv_link_up" in answer.read()


def test_metrics_on_every_address_answer_where_there_is_no_ipv6(monkeypatch):
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with serve_metrics(Ledger(), status, host="::", port=0) as port:
        assert scrape(port)["freediv_link_up"] == {(): 1}
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("::1", port), timeout=5)


def test_a_real_prometheus_scrapes_a_party(tmp_path, make_run):
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("needs the program prometheus (Debian: the package of that name), which is not installed")
    ledger = Ledger()
    stages = make_run().requests[0].parties[0].stages
    for record in stages:
        ledger.stage_finished(record)
    web = f"127.0.0.1:{free_ports(1)[0]}"
    with serve_metrics(ledger, status, host="127.0.0.1", port=0) as port:
        config = tmp_path / "prometheus.yml"
        jobs = [{"job_name": "freediv", "scrape_interval": "200ms", "scrape_timeout": "200ms",
                 "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}]  # fmt: skip
        config.write_text(json.dumps({"scrape_configs": jobs}))  # JSON is YAML
        command = [
            prometheus,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address={web}",
        ]
        with (tmp_path / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, env={"PATH": os.environ["PATH"]})
        try:
            total = ask(web, "sum(freediv_layer_sent_bytes_total)")
            assert total == [sum(record.sent_bytes for record in stages)]
            assert ask(web, "count(freediv_layer_seconds_bucket{le='+Inf'})") == [len(stages)]
            assert ask(web, "freediv_build_info{protocol='ABY3',attention='2quad-freediv'}") == [1]
            assert ask(web, "up{job='freediv'}") == [1]
        finally:
            server.terminate()
            server.wait(timeout=60)


def ask(address: str, query: str) -> list[float]:
    """Ask Prometheus until it has an answer, for a minute at most."""
    url = f"http://{address}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:
            if result := json.load(answer)["data"]["result"]:
                return [float(entry["value"][1]) for entry in result]
        time.sleep(0.2)
    return []
