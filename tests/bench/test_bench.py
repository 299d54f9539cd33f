"""Benchmarks through real party processes, on a small layer: what is deterministic in them."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from freediv.bench.measure import Setting, measure
from freediv.bench.network import NETWORKS, Network, shaped
from freediv.bench.presets import preset
from freediv.bench.variants import VARIANTS, choose, embeddings, in_lanes
from freediv.cli.benchmarks import bench
from freediv.conversion.cards.card import own_accuracy, read_card
from freediv.errors import UserError
from freediv.model import parameter_shapes, read_model
from tiny import architecture, make_tiny_model

SMALL = ["--hidden", "32", "--heads", "2", "--intermediate", "64", "--length", "16", "--repeats", "1"]


def test_a_layer_of_ours_sends_less_than_the_baseline(tmp_path: Path) -> None:
    file, chart = tmp_path / "rows.json", tmp_path / "rows.svg"
    arguments = ["layer", *SMALL, "--variants", "baseline,ours,ours-minimal"]
    done = CliRunner().invoke(bench, [*arguments, "--json", str(file), "--chart", str(chart)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = {row["variant"]: row for row in json.loads(file.read_text())}
    baseline, ours, minimal = (rows[name] for name in ("baseline", "ours", "ours-minimal"))
    assert baseline["messages"] > 4 * ours["messages"]
    assert ours["messages"] > 2 * minimal["messages"]
    assert baseline["sent_bytes"] > ours["sent_bytes"] > 0
    assert all(row["seconds"] > 0 for row in rows.values())
    # The kernel counted what was counted here, and the transport's own bytes: framing, headers, acknowledgements.
    assert all(0 < row["wire_overhead"] < 0.5 for row in rows.values())
    assert "ours-minimal" in chart.read_text()


def test_a_thinned_model_sends_less() -> None:
    six, two = (architecture(layers=layers, hidden=32, heads=2, intermediate=64, pooling="mean") for layers in (6, 2))
    ours, pooled, thin = choose("ours,ours-pooled,ours-thin")
    assert [one.pool is not None for one in pooled.apply(six).sizes] == [True, False, True, False, False, False]
    assert [one.intermediate for one in thin.apply(six).sizes] == [None] * 3 + [32] * 3
    [limited] = choose("ours-thin-limits")
    assert limited.apply(six).sizes == thin.apply(six).sizes and limited.apply(six).row_limits
    whole, thinned, rootless = measure(Setting(two, 32, 1), [ours, thin, limited], 1)
    assert whole.sent_bytes > 1.2 * thinned.sent_bytes > 0  # one of two layers on half of the rows, and half as wide
    assert thinned.sent_bytes > rootless.sent_bytes and thinned.messages > 1.5 * rootless.messages


def test_a_public_embedding_costs_less_than_a_secret_one() -> None:
    model = architecture(layers=0, vocabulary=300, hidden=32)
    rows = embeddings(8, 50)
    assert [row.apply(model).embedding for row in rows] == ["secret"] * 5 + ["public"] * 2
    chosen = [rows[1], rows[2], *rows[5:]]
    one_hots, keys, *published = measure(Setting(model, 16, 1, part="embedding"), chosen, 1)
    assert one_hots.request_bytes > 300 * 16 * 8 * 2  # one party gets seeds
    assert one_hots.request_bytes > 10 * keys.request_bytes > 10 * 6 * 16 * 65
    for secret, public in zip((one_hots, keys), published, strict=True):  # in shares, and in keys
        assert secret.share_bytes > public.share_bytes
        assert secret.messages >= public.messages
        assert secret.sent_bytes > public.sent_bytes > 0


def test_sizes_of_vision_transformers_are_the_published_ones() -> None:
    """Parameters with a head of 1,000 classes: DeiT-S 22.05 million, ViT-B/16 86.57 million."""
    for name, published in (("deit-s", 22_050_664), ("vit-b", 86_567_656)):
        model = preset(name, 12)
        assert model.positions == 197
        assert sum(math.prod(s) for own in parameter_shapes(model).values() for s in own.values()) == published
    with pytest.raises(UserError, match="there is no 'vit-l'; known: deit-s, vit-b"):
        preset("vit-l", 12)


def test_images_are_measured_by_their_rows() -> None:
    """The rows of an image are all that a request brings: 8 bytes of each share, and seeds."""
    model = read_model(Path(__file__).parents[1] / "model" / "families" / "vit-classifier").architecture
    model = model.model_copy(update={"layers": 1, "functions": model.functions[:1]})
    [ours] = measure(Setting(model, model.positions, 1), choose("ours"), 1)
    shared = 8 * 37 * 48
    assert shared <= ours.request_bytes < 3 * shared
    assert ours.messages > 0


def test_accuracy_stands_beside_cost(tmp_path: Path) -> None:
    chart = tmp_path / "pareto.svg"
    arguments = ["pareto", "demo", "--length", "16", "--repeats", "1", "--chart", str(chart)]
    done = CliRunner().invoke(bench, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    accuracy = own_accuracy(read_card(read_model("demo").directory or tmp_path)).value
    assert f"{100 * accuracy:.1f} %" in done.output
    assert "demo" in chart.read_text()


def test_a_model_without_a_card_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="no card with an accuracy"):
        CliRunner().invoke(bench, ["pareto", str(tmp_path)], catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variants", "baselin"], "there is no 'baselin'"),
        (["--heads", "5"], "not a multiple of heads"),
        (["--protocol", "SEMI2K", "--variants", "ours"], "products on shares need ABY3"),
        (["--network", "lan,moon"], "there is no 'moon'"),
        (["--bandwidth", "-1"], "--bandwidth has to be above 0"),
        (["--batch", "2", "--lanes", "1,3"], "numbers from 1 to the batch's 2 sentences"),
    ],
)
def test_wrong_options_are_named(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CliRunner().invoke(bench, ["layer", *arguments], catch_exceptions=False)


def test_products_may_be_put_on_one_engine_for_all() -> None:
    assert {v.products for v in choose(",".join(VARIANTS), "spu")} == {"spu"}


def test_only_what_multiplies_on_shares_has_lanes() -> None:
    rows = in_lanes(choose("baseline,ours"), [1, 2])
    assert [(row.name, row.lanes) for row in rows] == [("baseline", 1), ("ours", 1), ("ours, 2 lanes", 2)]


def test_the_relay_hands_on_every_byte_in_order() -> None:
    """More than its buffers hold, both ways."""
    message = os.urandom(3_000_000)
    with shaped(Network("test", 1e9, 0.2))(2) as views:
        port = int(views[1][1][1].rpartition(":")[2])
        server = socket.create_server(("127.0.0.1", port))

        def echo() -> None:
            connection, _ = server.accept()
            received = bytearray()
            while len(received) < len(message):
                received += connection.recv(1 << 16)
            connection.sendall(received)

        thread = threading.Thread(target=echo)
        thread.start()
        door = int(views[0][1][1].rpartition(":")[2])
        assert door != port
        with socket.create_connection(("127.0.0.1", door)) as connection:
            connection.sendall(message)
            answer = bytearray()
            while len(answer) < len(message):
                answer += connection.recv(1 << 16)
        thread.join()
        server.close()
    assert bytes(answer) == message


def test_the_network_model_adds_bytes_and_messages() -> None:
    wan = NETWORKS["wan"]
    assert wan.predict(1.0, 50e6, 10) == pytest.approx(1.0 + 1.0 + 0.2)


def test_what_a_model_costs_is_added_to_its_card(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "tiny")
    for name in ("README.md", "measurements.json"):
        shutil.copyfile((read_model("demo").directory or tmp_path) / name, model / name)
    file = tmp_path / "rows.json"
    arguments = ["model", str(model), "--length", "16", "--repeats", "1", "--card", "--json", str(file)]
    done = CliRunner().invoke(bench, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    [row], cost = json.loads(file.read_text()), read_card(model)["cost"]
    assert cost["length"] == 16 and cost["sent_bytes"] == row["sent_bytes"]
    # Two layers are most of the model, and one of them is not all of it.
    assert 0.25 * row["messages"] < cost["layer_messages"] < 0.5 * row["messages"]
    assert f"| one encoder layer | {cost['layer_sent_bytes'] / 1e6:.2f} |" in (model / "README.md").read_text()
    with pytest.raises(UserError, match="--card needs a MODEL"):
        CliRunner().invoke(bench, ["model", "--card"], catch_exceptions=False)
