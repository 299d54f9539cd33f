"""The page as a reader meets it: in a real browser, on a wide screen and a phone, in light and dark."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from freediv.cli import main
from freediv.files import replace_file
from freediv.model import LayerSizes
from freediv.model.functions.pooling import Pool
from freediv.monitoring.costs import RunCost, cost_rows, party_figures, total
from freediv.monitoring.report import Sentence, render_report
from freediv.monitoring.units import in_bytes, in_count, in_seconds

SECRET = "an unforgettable <b>picture</b> & nothing else"


@pytest.fixture
def page(tmp_path, make_run) -> Path:
    path = tmp_path / "page.html"
    replace_file(path, render_report(make_run(requests=2)))
    return path


def cells(browser, selector: str) -> list[list[str]]:
    script = f"[...document.querySelectorAll({selector!r})].map(r => [...r.children].map(c => c.innerText.trim()))"
    return browser.evaluate(script)


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_loads_nothing_and_complains_about_nothing(browser, page, width, scheme):
    browser.open(page, width=width, scheme=scheme)
    assert browser.requested() == [page.as_uri()]
    assert browser.complaints() == []


def test_page_names_no_address_and_runs_no_script(page):
    text = page.read_text()
    assert not re.search(r"https?://|//[a-z]|@import|<script|<iframe|xlink|\bsrc=", text)
    assert set(re.findall(r'\bhref="([^#][^"]*)"', text)) == {"data:,"}


def test_a_pooling_has_a_row_and_a_colour_of_its_own(make_run):
    run = make_run()
    sizes = (LayerSizes(pool=Pool(rows=2)), LayerSizes(heads=6), LayerSizes(heads=6))
    (request,) = run.requests

    def with_pooling(own):
        pooling = replace(own.stages[2], stage="encoder.0.pooling", block="pooling")
        return own.model_copy(update={"stages": (*own.stages[:3], pooling, *own.stages[3:])})

    parties = tuple(map(with_pooling, request.parties))
    changes = {
        "architecture": run.architecture.model_copy(update={"sizes": sizes}),
        "requests": (request.model_copy(update={"parties": parties}),),
    }
    pooled = run.model_copy(update=changes)
    text = render_report(pooled)
    assert '--swatch: var(--series-7)">pooling</td>' in text and "--series-7: #" in text
    said = "6 heads in layers 1, 2; after layer 0 each 2 neighbouring rows become one, the first apart"
    assert f'<tr><th scope="row">Thinner layers</th><td>{said}</td></tr>' in text
    assert "Thinner layers" not in render_report(run)


def test_figures_on_the_page_are_those_of_the_records(browser, page, make_run):
    run = make_run(requests=2)
    rows, whole = cost_rows(run), total(cost_rows(run))
    browser.open(page)
    shown = cells(browser, "#costs tbody tr")
    assert [row[:6] for row in shown] == [
        [
            "embedding" if r.block == "embedding" else "classifier" if r.block == "classifier" else f"layer {r.layer}",
            r.block.replace("_", "-"),
            in_bytes(r.figures.sent_bytes),
            in_bytes(r.figures.received_bytes),
            in_count(r.figures.messages),
            in_seconds(r.figures.seconds),
        ]
        for r in rows
    ]
    mean, *parties, everyone = cells(browser, "#costs tfoot tr")
    assert mean[2:5] == [in_bytes(whole.sent_bytes), in_bytes(whole.received_bytes), in_count(whole.messages)]
    assert [row[2] for row in parties] == [in_bytes(figures.sent_bytes) for figures in party_figures(run)]
    assert everyone[2] == in_bytes(3 * whole.sent_bytes)
    headline = {
        "total-sent": in_bytes(whole.sent_bytes),
        "total-messages": in_count(whole.messages),
        "total-seconds": in_seconds(run.seconds),
        "seconds-per-sentence": in_seconds((run.seconds - 0.7) / (8 + 9)),
        "total-upload": in_bytes(run.upload_bytes),
    }
    assert {name: browser.evaluate(f"document.getElementById({name!r}).innerText") for name in headline} == headline


def test_bars_are_as_long_as_the_records_say(browser, page, make_run):
    browser.open(page)
    script = """[...document.querySelectorAll('svg [id^="chart-sent-bar-"]')].map(
        bar => [bar.querySelector("title").textContent, bar.querySelector("path").getBoundingClientRect().width])"""
    bars = dict(browser.evaluate(script))
    rows = cost_rows(make_run(requests=2))
    assert len(bars) == len(rows)
    expected = {
        f"{row.layer_name}, {row.block.replace('_', '-')}: {in_bytes(row.figures.sent_bytes)}": row.figures.sent_bytes
        for row in rows
    }
    assert bars.keys() == expected.keys()
    longest = max(expected, key=lambda name: expected[name])
    assert bars[longest] > 20
    for name, width in bars.items():
        assert width / bars[longest] == pytest.approx(expected[name] / expected[longest], abs=0.01)


@pytest.mark.parametrize("layers", [1, 12, 24])
@pytest.mark.parametrize("width", [1280, 360])
def test_charts_are_seen_whole(browser, tmp_path, make_run, width, layers):
    path = tmp_path / "page.html"
    replace_file(path, render_report(make_run(layers=layers)))
    browser.open(path, width=width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    charts = browser.evaluate("""[...document.querySelectorAll("svg.chart")].map(svg => {
        const box = svg.getBoundingClientRect();
        const texts = [...svg.querySelectorAll("text")].map(t => t.getBoundingClientRect());
        return {width: box.width, height: box.height, bars: svg.querySelectorAll(".bar").length, texts: texts.length,
                smallest: Math.min(...texts.map(t => t.height)),
                outside: texts.filter(t => t.left < box.left - 1 || t.right > box.right + 1 || t.top < box.top - 1
                                           || t.bottom > box.bottom + 1).length}})""")
    assert len(charts) == 4
    for chart in charts:
        assert chart["width"] > 250
        assert chart["height"] > 60
        assert chart["bars"] >= 4
        assert chart["texts"] > 6
        assert chart["smallest"] > 9  # pixels
        assert chart["outside"] == 0


def test_page_can_be_read_in_light_and_dark(browser, page):
    script = """(() => {
        const body = getComputedStyle(document.body), text = getComputedStyle(document.querySelector("svg.chart text"));
        return [body.backgroundColor, body.color, text.fill] })()"""
    luminance = {}
    for scheme in ("light", "dark"):
        browser.open(page, scheme=scheme)
        colours = [[int(part) / 255 for part in re.findall(r"\d+", text)[:3]] for text in browser.evaluate(script)]
        luminance[scheme] = [relative_luminance(colour) for colour in colours]
        paper, *inks = luminance[scheme]
        for ink in inks:
            assert (max(paper, ink) + 0.05) / (min(paper, ink) + 0.05) > 7  # WCAG 2, level AAA
    assert luminance["light"][0] > 0.8 > 0.2 > luminance["dark"][0]


def relative_luminance(colour: list[float]) -> float:
    """WCAG 2.2, "relative luminance"."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_charts_speak_to_a_screen_reader(browser, page):
    browser.open(page)
    browser.call("Accessibility.enable")
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    images = [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") in ("image", "img")]
    assert len(images) == 4
    assert any("Bytes sent, by layer" in name and "The largest single block is feed-forward" in name for name in images)
    identifiers = browser.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(identifiers) == len(set(identifiers))


def test_page_holds_a_sentence_only_if_it_is_passed(browser, tmp_path, make_run):
    assert "picture" not in render_report(make_run())
    path = tmp_path / "page.html"
    replace_file(path, render_report(make_run(), [Sentence(SECRET, "positive")]))
    browser.open(path)
    assert [SECRET, "positive"] in cells(browser, "h2#sentences + p + div tbody tr")


def test_page_does_not_claim_that_a_demo_hides_anything_from_its_machine(make_run):
    claim = "whoever operates that machine could have read everything"
    assert claim in render_report(make_run())
    assert claim not in render_report(make_run().model_copy(update={"command": "infer"}))


# --- the command ---


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def freediv(monkeypatch, capsys) -> Callable[..., Ended]:
    """The command `freediv`, run to its end in this process."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["freediv", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return Ended(end.value.code or 0, *capsys.readouterr())

    return run


def save(path: Path, run: RunCost) -> Path:
    document = {"predictions": [{"text": SECRET, "label": "positive"}], "cost": run.model_dump(mode="json")}
    path.write_text(json.dumps(document))
    return path


def test_report_command_makes_the_same_page_from_saved_records(freediv, tmp_path, make_run):
    run = make_run(requests=2)
    saved = save(tmp_path / "records.json", run)
    result = freediv("report", saved, "-o", tmp_path / "page.html")
    assert (result.returncode, result.stderr) == (0, "")
    assert "feed-forward" in result.stdout
    assert in_bytes(total(cost_rows(run)).sent_bytes) in result.stdout
    assert (tmp_path / "page.html").read_text() == render_report(run)
    assert "unforgettable" not in result.stdout
    freediv("report", saved, "-o", tmp_path / "own.html", "--with-sentences")
    assert "unforgettable" in (tmp_path / "own.html").read_text()


def test_report_command_prints_the_table_as_json(freediv, tmp_path, make_run):
    run = make_run()
    result = freediv("report", save(tmp_path / "r.json", run), "-o", tmp_path / "page.html", "--json")
    table = json.loads(result.stdout)
    assert sum(row["share_of_bytes"] for row in table["rows"]) == pytest.approx(1)
    assert sum(row["share_of_seconds"] for row in table["rows"]) == pytest.approx(1)
    sent = [sum(stage.sent_bytes for stage in party.stages) for party in run.requests[0].parties]
    assert [party["sent_bytes"] for party in table["parties"]] == sent
    assert table["mean_party"]["sent_bytes"] == pytest.approx(sum(sent) / 3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("not json", "is not JSON"),
        ("{}", "at command: field required"),
        ("[]", "at the top level"),
    ],
)
def test_report_command_says_what_is_wrong_in_one_line(freediv, tmp_path, content, said):
    path = tmp_path / "records.json"
    if content is not None:
        path.write_text(content)
    result = freediv("report", path, "-o", tmp_path / "page.html")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


def test_report_command_names_the_key_that_does_not_belong(freediv, tmp_path, make_run):
    document = make_run().model_dump(mode="json")
    document["requests"][0]["parties"][1]["stages"][0]["sent_bytes"] = "many"
    path = tmp_path / "records.json"
    path.write_text(json.dumps(document))
    assert "requests.0.parties.1.stages.0.sent_bytes" in freediv("report", path).stderr


def test_a_page_that_cannot_be_written_leaves_nothing_behind(freediv, tmp_path, make_run):
    saved = save(tmp_path / "records.json", make_run())
    target = tmp_path / "page.html"
    target.mkdir()
    result = freediv("report", saved, "-o", target)
    assert result.returncode == 2
    assert "cannot be written" in result.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page.html", "records.json"]


def test_report_command_does_not_write_over_its_records(freediv, tmp_path, make_run):
    saved = save(tmp_path / "records.json", make_run())
    before = saved.read_text()
    result = freediv("report", saved, "-o", saved)
    assert result.returncode == 2
    assert "named twice" in result.stderr
    assert saved.read_text() == before
