"""The page at `/`, in a real browser, before a real deployment: what a data owner without a program does."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from deployment.conftest import Cluster, run_command
from freediv.monitoring import learned
from freediv.monitoring.units import in_bytes, in_count, in_seconds
from freediv.owners.model_owner import load
from tiny import SENTENCES, make_tiny_model

from .asking_page import AskingPage
from .conftest import DoorProcess, door_before

TOKEN = "0123456789abcdef0123456789abcdef"
MARKUP = '<img src="x" onerror="window.hacked = 1"><script>window.hacked = 1</script>'
OTHERS = ["😀 good 😀", "فيلم جيد", "סרט רע", 'a "quoted" film', "no, it has\nno plot", "=1+1", "-2", "@film", "+good"]


@pytest.fixture
def page(browser: Browser, door: DoorProcess) -> AskingPage:
    opened = AskingPage(browser, door)
    opened.wait_for_models()
    return opened


def inferred(cluster: Cluster, texts: list[str], tmp_path: Path) -> dict[str, str]:
    """Labels by `freediv infer`."""
    file = tmp_path / "distinct.csv"
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows([["sentence"], *([text] for text in texts)])
    done = run_command("infer", cluster.folder("data-owner-alice"), "--file", file, "--json")
    assert done.returncode == 0, done.stderr
    return {one["text"]: one["label"] for one in json.loads(done.stdout)["predictions"]}


# --- asking ---


def test_a_text_is_asked_by_keyboard_alone(
    browser: Browser, page: AskingPage, door: DoorProcess, expected_labels: list[str]
) -> None:
    def tab_to(name: str) -> None:
        for _ in range(20):
            browser.press("Tab")
            if page.do("document.activeElement.id") == name:
                return
        pytest.fail(f"{name} is not reached")

    tab_to("texts")
    assert page.do("getComputedStyle(document.activeElement).outlineStyle") != "none"
    browser.call("Input.insertText", text=SENTENCES[0])
    tab_to("ask")
    browser.press("Enter", text="\r")
    page.wait("document.getElementById('said').textContent.includes('1 text answered')")
    assert page.rows() == [["1", SENTENCES[0], expected_labels[0]]]
    assert page.do("document.activeElement.id") == "ask"  # not lost with the button that was hidden
    page.wait("!document.getElementById('cost').hidden")
    [model] = door.get("/status").json()["models"]
    table = model["last"]["table"]
    shown = page.do("[...document.querySelectorAll('#layers-body tr')].map(r => [...r.children].map(c => c.innerText))")
    assert [row[1:] for row in shown] == [
        [in_bytes(one["sent_bytes"]), in_count(one["messages"]), in_seconds(one["seconds"])] for one in table["rows"]
    ]
    assert {row[0] for row in shown} >= {"embedding", "layer 0, attention", "layer 1, feed-forward", "classifier"}
    assert [party["up"] for party in model["deployments"][0]["parties"]] == [True] * 3
    assert page.do("[...document.querySelectorAll('.state')].map(one => one.innerText)") == ["up"] * 3
    told = page.do(
        "[...document.querySelectorAll('#learners tbody tr')].map(r => [...r.children].map(c => c.innerText))"
    )
    assert told == [[one.who, *one.learns] for one in learned.who_learns("ABY3", "the label")]
    page.is_inert()


def test_a_pasted_list_is_answered_in_its_order(page: AskingPage, expected_labels: list[str], tmp_path: Path) -> None:
    places = random.Random(1).choices(range(len(SENTENCES)), k=200)
    page.type("\n".join(f"  {SENTENCES[place]} " for place in places) + "\n\n")
    assert "200 texts answered" in page.ask()
    assert [row[1:] for row in page.rows()] == [[SENTENCES[place], expected_labels[place]] for place in places]
    asked = page.asked()
    assert sum(map(len, asked)) == 200
    assert max(map(len, asked)) <= page.door.get("/status").json()["limits"]["max_client_batch_size"]
    counts = page.do("[...document.querySelectorAll('#filters button')].map(one => one.innerText.split(/\\s+/))")
    found = [expected_labels[place] for place in places]
    assert {name: int(count) for name, count in counts} == {
        "all": 200, "positive": found.count("positive"), "negative": found.count("negative")
    }  # fmt: skip
    page.do("[...document.querySelectorAll('#filters button')].find(one => one.innerText.includes('negative')).click()")
    page.do("while (!document.getElementById('previous').disabled) document.getElementById('previous').click()")
    assert {row[2] for row in page.rows()} == {"negative"}
    answers = page.download("as-json", tmp_path, "answers.json", json.loads)["predictions"]
    assert answers == [{"text": SENTENCES[place], "label": expected_labels[place]} for place in places]
    page.is_inert()


def test_a_table_of_two_thousand_rows_is_answered_as_infer_answers_it(
    page: AskingPage, cluster: Cluster, tmp_path: Path
) -> None:
    texts = random.Random(2).choices([*SENTENCES, *OTHERS, ""], k=2000)
    path = tmp_path / "films.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([["id", "what, exactly"], *([f"={row}", text] for row, text in enumerate(texts))])
    page.choose(path, "what, exactly")
    began = time.monotonic()
    said = page.ask()
    print(f"2,000 rows in {time.monotonic() - began:.1f} s")
    empty = texts.count("")
    assert f"{2000 - empty:,} texts answered" in said
    assert f"{empty} without a text" in said
    labels = inferred(cluster, sorted({*texts} - {""}), tmp_path)
    assert set(labels.values()) == {"negative", "positive"}
    answers = page.download("as-json", tmp_path, "answers.json", json.loads)["predictions"]
    assert answers == [
        {"text": text, "label": labels[text]} if text else {"text": "", "problem": "no text"} for text in texts
    ]
    assert [row[2] for row in page.rows()] == [labels[text] if text else "no text" for text in texts]
    saved = page.download("as-csv", tmp_path, "answers.csv", bytes)
    assert saved.startswith(b"\xef\xbb\xbf")
    header, *rows = csv.reader(io.StringIO(saved.decode("utf-8-sig"), newline=""))
    assert header == ["Row", "what, exactly", "Answer"]
    assert rows == [
        [str(row), f"'{text}" if text[:1] in tuple("=+-@") else text, labels[text] if text else "no text"]
        for row, text in enumerate(texts, start=1)
    ]
    assert [text for asked in page.asked() for [text] in asked].count("") == 0
    assert sum(map(len, page.asked())) == 2000 - empty
    assert page.do("document.querySelectorAll('#answers-body tr').length") <= 100
    page.is_inert()


def test_stopping_keeps_what_was_answered_and_the_rest_can_still_be_asked(
    page: AskingPage, expected_labels: list[str]
) -> None:
    page.type("\n".join(SENTENCES * 20))
    page.click("ask")
    page.wait("document.getElementById('progress').value > 0")
    assert "of 120 rows done" in page.text("count")
    page.click("stop")
    page.wait("document.getElementById('said').textContent.startsWith('Stopped.')")
    some = [row for row in page.rows() if row[2] != "waiting"]
    assert 0 < len(some) < 120
    before = len(page.asked())
    page.click("go-on")
    page.wait("document.getElementById('said').textContent.includes('answered in')")
    page.do("document.querySelector('#filters button').click()")
    assert [row[2] for row in page.rows()] == expected_labels * 20
    assert sum(map(len, page.asked()[before:])) == 120 - len(some)


# --- what goes wrong ---


def test_a_party_that_is_killed_is_told_of_and_nothing_is_lost_or_asked_twice(
    page: AskingPage, cluster: Cluster, expected_labels: list[str]
) -> None:
    page.do("""(() => {
        window.got = [];
        window.heard = [];
        const before = window.fetch;
        window.fetch = async (path, options) => {
            const response = await before(path, options);
            if (options.body) {
                const { inputs } = JSON.parse(options.body), { answers = [] } = await response.clone().json();
                window.got.push(...inputs.map(([text]) => text).filter((_, place) => answers[place]));
            }
            return response;
        };
        new MutationObserver(() => window.heard.push(document.getElementById("said").textContent))
            .observe(document.getElementById("said"), {childList: true, characterData: true, subtree: true});
    })()""")
    texts = [f"{SENTENCES[row % 6]} {'x ' * (row // 6)}".strip() for row in range(90)]
    page.type("\n".join(texts))
    page.click("ask")
    page.wait("document.getElementById('progress').value > 5")
    process = cluster.local.parties[1].process()
    assert process is not None
    process.kill()
    try:
        page.wait("document.getElementById('said').classList.contains('trouble')")
        trouble = page.said()
        assert "kept" in trouble
        assert "goes on when the parties are back" in trouble
        page.wait("[...document.querySelectorAll('.state')].some(one => one.innerText === 'down')")
        answered = page.do("document.getElementById('progress').value")
        assert 5 < answered < 90
        assert not page.do("document.getElementById('stop').hidden")
    finally:
        cluster.up(1)
    page.wait("document.getElementById('said').textContent.includes('answered in')")
    assert "Answers come again: going on." in page.do("window.heard")
    assert sorted(page.do("window.got")) == sorted(texts)  # each once
    assert [row[1] for row in page.rows()] == texts
    assert {row[2] for row in page.rows()} == set(expected_labels)


def test_what_is_answered_of_a_request_that_fails_is_not_asked_again(page: AskingPage) -> None:
    answer = json.dumps({"answer": "positive", "answered": True, "scores": None, "entry": {"label": "positive"}})
    page.do(f"""(() => {{
        const real = window.fetch;
        let failed = false;
        window.fetch = async (path, options) => {{
            if (!options.body || failed) return real(path, options);
            failed = true;
            window.asked.push(JSON.parse(options.body).inputs);
            return new Response(JSON.stringify({{error: "party 1 is gone", error_type: "Backend",
                answers: [null, {answer}, null]}}), {{status: 424}});
        }};
    }})()""")
    page.type("\n".join(SENTENCES[:3]))
    page.ask()
    assert page.asked() == [[[text] for text in SENTENCES[:3]], [[SENTENCES[0]], [SENTENCES[2]]]]


@pytest.mark.parametrize(("after", "said"), [("1", "Asking again in"), (None, "can still be asked")])
def test_a_quota_is_waited_for_where_waiting_helps(page: AskingPage, after: str | None, said: str) -> None:
    headers = {"retry-after": after} if after else {}
    page.do(f"""(() => {{
        const real = window.fetch;
        let refused = 0;
        window.fetch = async (path, options) => !options.body || refused++ ? real(path, options)
            : new Response(JSON.stringify({{error: "the quota is full", error_type: "Overloaded"}}),
                           {{status: 429, headers: {json.dumps(headers)}}});
    }})()""")
    page.type(SENTENCES[0])
    assert "The quota is full." in page.ask(end=said)
    if not after:
        page.click("go-on")
    page.wait("document.getElementById('said').textContent.includes('1 text answered')")


def test_a_text_that_is_too_long_is_told_of_in_its_row_and_the_others_are_answered(
    page: AskingPage, expected_labels: list[str]
) -> None:
    long = "good " * 200
    page.type("\n".join([SENTENCES[0], long, SENTENCES[1]]))
    assert "2 texts answered" in page.ask()
    rows = [row[2] for row in page.rows()]
    assert [rows[0], rows[2]] == expected_labels[:2]
    assert re.match(r"not asked: has 2\d\d word pieces", rows[1])
    page.click("truncate")
    assert "3 texts answered" in page.ask(end="3 texts answered")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("open.csv", b'a,b\n1,"never closed\n', "line 2: a quote is not closed"),
        ("latin.csv", "a\ncaf\xe9\n".encode("latin-1"), "not UTF-8"),
        ("empty.csv", b"\n\n", "there is nothing in it"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_of(
    browser: Browser, page: AskingPage, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    browser.choose("#file", tmp_path / name)
    page.wait(f"document.getElementById('said').textContent.includes({words!r})")
    assert page.said().startswith(f"{name}: ")
    assert page.do("document.getElementById('table').hidden")


# --- tables ---

TABLES = [
    'a,b\r\n1,"x, ""y"""\r\n2,"two\r\nlines"\r\n3,\r\n',
    "\ufeffa;b\n1;x, y\n;\n",
    'a\tb\n"1\t1"\tx\n',
    "a,b\n1,2",
    'only\n"a, b"\n',
    "a,b\n\n\n1,2\n\n",
    '"a ""quoted"" name",b\n"","x"\n',
]


@pytest.mark.parametrize("text", TABLES)
def test_tables_are_read_as_another_reader_reads_them(page: AskingPage, text: str) -> None:
    without_mark = text.removeprefix("\ufeff")
    separator = max(",;\t", key=without_mark.splitlines()[0].count)
    wanted = [row for row in csv.reader(io.StringIO(without_mark, newline=""), delimiter=separator, strict=True) if row]
    assert page.do(f"import('/page/table.js').then(table => table.readTable({json.dumps(text)}))") == wanted


def test_a_column_of_texts_with_separators_is_one_and_a_tsv_is_taken_literally(page: AskingPage) -> None:
    def read(text: str, options: str = "{}") -> list[list[str]]:
        return page.do(f"import('/page/table.js').then(table => table.readTable({json.dumps(text)}, {options}))")

    assert read("sentence\na film, and a plot; no\n") == [["sentence"], ["a film, and a plot; no"]]
    assert read('a\tb\n"x\ty\n', "{literal: true}") == [["a", "b"], ['"x', "y"]]


def test_no_cell_is_a_formula_and_numbers_stay_numbers(page: AskingPage) -> None:
    cells = ["=1", "+1", "-1", "@x", "\tx", "\rx", "x=1", -1.5, "", 'a "b", c']
    text = page.do(f"import('/page/table.js').then(table => table.writeTable([{json.dumps(cells)}]))")
    assert text.startswith("\ufeff")
    [found] = csv.reader(io.StringIO(text[1:], newline=""))
    assert found == ["'=1", "'+1", "'-1", "'@x", "'\tx", "'\rx", "x=1", "-1.5", "", 'a "b", c']


# --- who may read what ---


@pytest.fixture
def marked_up(cluster: Cluster, tmp_path: Path, tiny_model: Path) -> Iterator[None]:
    """The deployment serves a model whose labels are markup."""
    load(cluster.folder("model-owner"), make_tiny_model(tmp_path / "marked-up", label_names=(MARKUP, f"{MARKUP}2")))
    yield
    load(cluster.folder("model-owner"), tiny_model)


def test_markup_in_texts_columns_file_names_and_labels_is_text(
    browser: Browser, cluster: Cluster, door: DoorProcess, marked_up: None, tmp_path: Path
) -> None:
    with door_before(cluster.folder("data-owner-alice")) as fresh:
        page = AskingPage(browser, fresh)
        page.wait_for_models()
        path = tmp_path / "<img src=x onerror=hacked=1>.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["id", MARKUP], ["1", MARKUP], ["2", f"good {MARKUP}"]])
        page.choose(path, MARKUP)
        assert MARKUP in page.text("example")
        page.ask()
        rows = page.rows()
        assert [row[1] for row in rows] == [MARKUP, f"good {MARKUP}"]
        assert {row[2] for row in rows} <= {MARKUP, f"{MARKUP}2"}
        assert page.do("document.querySelector('#answers-head').children[1].innerText") == MARKUP
        page.is_inert()


def test_a_script_within_the_page_does_not_run_and_nothing_goes_elsewhere(page: AskingPage, door: DoorProcess) -> None:
    policy = door.get("/").headers["content-security-policy"]
    for part in (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:",
        "form-action 'none'", "base-uri 'none'", "frame-ancestors 'none'",
    ):  # fmt: skip
        assert part in policy.split("; ")
    for path in ("/", "/page/main.js", "/page/style.css"):
        headers = door.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
    for script in (
        'const made = document.createElement("script"); made.text = "window.hacked = 1"; document.body.append(made)',
        'document.body.setAttribute("onclick", "window.hacked = 1"); document.body.click()',
        'document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=\'window.hacked = 1\'>")',
        'window.setTimeout("window.hacked = 1", 0)',
    ):
        assert page.do(f"(() => {{ try {{ {script}; return 'ran' }} catch (error) {{ return error.name }} }})()") in (
            "TypeError",
            "EvalError",
        )
    assert page.do("new Promise(done => setTimeout(() => done(window.hacked === undefined), 50))")
    assert page.do("fetch('http://127.0.0.1:9/', {}).then(() => 'went', error => error.name)") == "TypeError"
    assert any("Content Security Policy" in one for one in page.browser.complaints())
    assert page.do("document.cookie + Object.keys(localStorage) + Object.keys(sessionStorage)") == ""


def test_a_token_is_asked_for_and_held_in_memory_alone(browser: Browser, cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(TOKEN)
    with door_before(cluster.folder("data-owner-alice"), options=("--token-file", str(file))) as door:
        assert door.get("/").status_code == door.get("/page/main.js").status_code == 200
        assert TOKEN not in door.get("/").text
        assert door.get("/status").status_code == door.post("/", {"inputs": "a"}).status_code == 401
        assert door.post("/answers", {"inputs": [["a"]]}).status_code == 401
        page = AskingPage(browser, door)
        assert page.browser.complaints() == []
        page.type(SENTENCES[0])
        page.do("document.getElementById('token').value = 'not the token'")
        page.click("enter")
        page.wait("document.getElementById('said').textContent.includes('wants its token')")
        page.do(f"document.getElementById('token').value = {TOKEN!r}")
        page.click("enter")
        page.wait_for_models()
        assert "1 text answered" in page.ask()
        assert page.do("document.cookie + Object.keys(localStorage) + Object.keys(sessionStorage)") == ""
        assert TOKEN not in page.do("document.documentElement.outerHTML")
        browser.open(f"{door.address}/")
        assert page.do("document.getElementById('token').value + document.getElementById('texts').value") == ""


def test_a_model_is_chosen_where_there_are_several(
    browser: Browser, cluster: Cluster, expected_labels: list[str]
) -> None:
    folder = cluster.folder("data-owner-alice")
    with door_before(f"first={folder}", f"second={folder}", well=False) as door:
        page = AskingPage(browser, door)
        page.wait_for_models()
        assert page.do("[...document.getElementById('model').options].map(one => one.text)") == ["first", "second"]
        assert not page.do("document.getElementById('model-field').hidden")
        page.do(
            """(() => { const select = document.getElementById("model"); select.value = "second";
            select.dispatchEvent(new Event("change")) })()"""
        )
        page.wait("document.getElementById('about').textContent.startsWith('second answers')")
        page.type(SENTENCES[1])
        page.ask()
        assert page.rows() == [["1", SENTENCES[1], expected_labels[1]]]
        assert any(one.endswith("/models/second/answers") for one in browser.requested())
        assert not any("/models/first/" in one for one in browser.requested())


# --- how it looks ---


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_can_be_read(browser: Browser, door: DoorProcess, width: int, scheme: str) -> None:
    page = AskingPage(browser, door, width=width, scheme=scheme)
    page.wait_for_models()
    page.type("\n".join([*SENTENCES, "x" * 300, "فيلم جيد جدا"]))
    page.ask()
    page.wait("!document.getElementById('cost').hidden")
    assert page.do("document.documentElement.scrollWidth") <= width
    outside = """[...document.querySelectorAll("body *")].filter(one => one.offsetParent !== null
        && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"""
    assert page.do(outside) == []
    faint = """(() => {
        const linear = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number);
            return 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255) };
        const behind = one => { for (; one; one = one.parentElement) {
            const found = getComputedStyle(one).backgroundColor;
            if (found !== "rgba(0, 0, 0, 0)" && found !== "transparent") return found } return "rgb(255, 255, 255)" };
        return [...document.querySelectorAll("body *")].filter(one => one.offsetParent !== null && !one.disabled
            && [...one.childNodes].some(child => child.nodeType === 3 && child.textContent.trim())).map(one => {
            const ink = light(getComputedStyle(one).color), paper = light(behind(one));
            return [(Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05), one.outerHTML.slice(0, 90)] })
            .filter(([contrast]) => contrast < 4.5) })()"""
    assert page.do(faint) == []  # WCAG 2, level AA
    paper = page.do("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert (paper > 200) == (scheme == "light")
    page.is_inert()


def test_the_page_speaks_to_a_screen_reader(browser: Browser, page: AskingPage) -> None:
    page.type(SENTENCES[0])
    page.ask()
    browser.call("Accessibility.enable")
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    browser.call("Accessibility.disable")
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")
    ]
    roles = [role for role, _ in named]
    assert {"main", "complementary", "banner", "contentinfo", "form", "status", "table"} <= set(roles)
    assert ("textbox", "Texts, one a line") in named
    assert ("table", "1 row, answered by test") in named
    assert ("table", "Who learns what") in named
    assert {"rowheader", "columnheader"} <= set(roles)
    wanted = {"button", "textbox", "combobox", "checkbox", "table", "progressbar", "region", "group"}
    assert not [role for role, name in named if role in wanted and not name.strip()]
    identifiers = page.do("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(identifiers) == len(set(identifiers))


def test_everything_that_can_be_used_is_reached_by_keyboard_and_nothing_holds_it(
    browser: Browser, page: AskingPage
) -> None:
    page.type("\n".join(SENTENCES * 20))
    page.ask()
    page.do("document.activeElement.blur()")
    usable = """[...document.querySelectorAll("button, input, select, textarea, a[href]")]
        .filter(one => one.offsetParent !== null && !one.disabled).length"""
    wanted, reached = page.do(usable), []
    page.do("window.reached = new Set()")
    for _ in range(3 * wanted):
        browser.press("Tab")
        inside = page.do(
            """(() => { const one = document.activeElement; if (one === document.body) return null;
            window.reached.add(one);
            const { outlineStyle, outlineWidth } = getComputedStyle(one);
            return [one.id || one.textContent, outlineStyle !== "none" && parseFloat(outlineWidth) >= 2] })()"""
        )
        if inside is not None:
            reached.append(inside)
    assert page.do("window.reached.size") == wanted
    assert not [name for name, visible in reached if not visible]
