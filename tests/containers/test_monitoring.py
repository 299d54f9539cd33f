"""Prometheus' configuration, alerts and every panel of the dashboards, against Debian's Prometheus and a live run."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import httpx2
import pytest
import yaml
from freediv.deploy.containers.folders import targets

from .conftest import REPOSITORY, SENTENCES, Gated, free_block, program, wait_for

PROMETHEUS = REPOSITORY / "configs" / "prometheus"
GRAFANA = REPOSITORY / "configs" / "grafana"


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False)


def test_promtool_accepts_configuration_and_rules(tmp_path: Path) -> None:
    shutil.copytree(PROMETHEUS, tmp_path, dirs_exist_ok=True)
    shutil.copy(tmp_path / "one-host-targets.yaml", tmp_path / "targets.yaml")
    done = promtool("check", "config", tmp_path / "prometheus.yaml")
    assert done.returncode == 0, done.stderr


FULL = 'freediv_layer_sent_bytes_total{cluster="lab", job="party", party="0", layer="%s", block="%s"}'
PARTY = '{cluster="lab", job="party", party="0"}'


def test_alerts_come_when_they_should_and_not_before(tmp_path: Path) -> None:
    """Minute by minute: a quiet cluster, then a party down, its link down, failing requests, a layer gone astray."""
    steady = {"series": FULL % ("0", "attention"), "values": "0+1000x60 61000+9000x20"}
    other = {"series": FULL % ("0", "feed_forward"), "values": "0+1000x80"}
    third = {"series": FULL % ("classifier", "classifier"), "values": "0+8000x80"}
    up = {"series": f"up{PARTY}", "values": "1x20 0x5 1x60"}
    link = {"series": f"freediv_link_up{PARTY}", "values": "1x30 0x5 1x60"}
    failed = {"series": 'freediv_requests_total{cluster="lab", party="0", outcome="failed"}', "values": "0x40 3x50"}
    expected = [
        ("PartyDown", [(10, 0), (23, 1), (40, 0)]),
        ("LinkDown", [(20, 0), (33, 1), (50, 0)]),
        ("RequestsFailing", [(30, 0), (42, 1), (60, 0)]),
        ("LayerBytesOutOfLine", [(50, 0), (75, 1)]),
    ]
    (tmp_path / "rules.yaml").write_text((PROMETHEUS / "alerts.yaml").read_text())
    firing = tmp_path / "test.yaml"
    # promtool compares whole alerts; how many fire is a query on the series that Prometheus keeps about them.
    queries = [
        {
            "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)',
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": "{}", "value": count}],
        }
        for name, points in expected
        for minute, count in points
    ]
    case = {"interval": "1m", "input_series": [steady, other, third, up, link, failed], "promql_expr_test": queries}
    content = {"rule_files": ["rules.yaml"], "evaluation_interval": "15s", "tests": [case]}
    firing.write_text(yaml.safe_dump(content))
    done = promtool("test", "rules", firing)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    pytest.importorskip("grafana_foundation_sdk", reason="needs grafana-foundation-sdk, which wants Python 3.11")
    spec = importlib.util.spec_from_file_location("make_dashboards", GRAFANA / "make_dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["make_dashboards"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_dashboards_are_what_the_typed_library_makes(maker: ModuleType) -> None:
    made = maker.documents()
    assert sorted(made) == sorted(path.name for path in (GRAFANA / "dashboards").iterdir())
    for name, text in made.items():
        assert (GRAFANA / "dashboards" / name).read_text() == text, "run `make dashboards`"


def panels() -> Iterator[tuple[str, str]]:
    for path in sorted((GRAFANA / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]


@pytest.fixture(scope="module")
def ask(gated: Gated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Asks a Prometheus that watched the parties while they answered."""
    directory = tmp_path_factory.mktemp("prometheus")
    shutil.copytree(PROMETHEUS, directory, dirs_exist_ok=True)
    port = free_block(2)
    door = port + 1
    own = [{"targets": [f"127.0.0.1:{door}"], "labels": {"cluster": gated.topology.cluster, "job": "door"}}]
    (directory / "targets.yaml").write_text(targets(gated.topology) + yaml.safe_dump(own))
    configuration = directory / "prometheus.yaml"
    configuration.write_text(configuration.read_text().replace("interval: 5s", "interval: 1s").replace("15s", "1s"))
    address = f"http://127.0.0.1:{port}"

    def ask(query: str) -> list[dict]:
        arguments = urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(f"{address}/api/v1/query?{arguments}", timeout=10) as answer:
            return json.load(answer)["data"]["result"]

    def answering() -> bool:
        try:
            return len(ask("up == 1")) == 7
        except OSError:
            return False

    with ExitStack() as stack:
        log = stack.enter_context((directory / "log").open("w"))
        command = [program("prometheus"), f"--config.file={configuration}", f"--storage.tsdb.path={directory}/data"]
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        stack.callback(process.wait, 20)
        stack.callback(process.terminate)
        serve = [sys.executable, "-m", "freediv", "serve", str(gated.directory), "--listen", f"127.0.0.1:{door}"]
        serving = subprocess.Popen(serve, stdout=log, stderr=log)
        stack.callback(serving.wait, 20)
        stack.callback(serving.terminate)
        wait_for(answering, 60, "Prometheus scrapes three parties, three gateways and the door")
        wait_for(lambda: httpx2.get(f"http://127.0.0.1:{door}/health").status_code == 200, 60, "the door is well")
        for _ in range(2):
            gated.infer()
            asked = {"inputs": [[text] for text in SENTENCES]}  # what the data owner asks, or a run would cost less
            httpx2.post(f"http://127.0.0.1:{door}/predict", json=asked, timeout=60).raise_for_status()
            time.sleep(2)
        yield ask


@pytest.mark.parametrize(("title", "query"), list(panels()), ids=lambda value: value if ": " in value[:30] else "")
def test_every_panel_has_data(ask, title: str, query: str) -> None:
    for variable, value in (("$cluster", ".*"), ("$__rate_interval", "1m"), ("$__range", "5m")):
        query = query.replace(variable, value)
    found = ask(query)
    assert found
    assert any(float(series["value"][1]) >= 0 for series in found)  # not all are NaN


def test_a_layers_bars_are_what_the_data_owner_was_told(ask, gated: Gated) -> None:
    """The dashboard's bytes for a run of a layer, against the records of one request."""
    (request,) = gated.infer()["cost"]["requests"]
    stages = [
        stage for party in request["parties"] for stage in party["stages"] if stage["stage"] == "encoder.1.attention"
    ]
    told = sum(stage["sent_bytes"] for stage in stages)
    time.sleep(2)  # until each party was asked once more
    query = 'sum(freediv_layer_sent_bytes_total{layer="1", block="attention"}) '
    query += '/ sum(freediv_layer_seconds_count{layer="1", block="attention", party="0"})'
    (series,) = ask(query)
    # Of one request to the next, SPU's bytes differ by a little.
    assert float(series["value"][1]) == pytest.approx(told, rel=0.1)


def test_the_overlay_mounts_what_there_is() -> None:
    content = yaml.safe_load((REPOSITORY / "compose" / "monitoring.yaml").read_text())
    mounted = [volume for service in content["services"].values() for volume in service["volumes"]]
    paths = [volume.split(":")[0] for volume in mounted if volume.startswith("../")]
    assert len(paths) >= 4
    for path in paths:
        assert (REPOSITORY / "compose" / path).exists(), path
