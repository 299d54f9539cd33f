"""Pages: that they name what is there, and that the site is made of them without a link that leads nowhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "orchestrator" / "freediv"
PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").glob("*.md"),
        *(REPOSITORY / folder / "README.md" for folder in ("compose", "images", "configs/recipes")),
    ]
)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#[^)\s]*)?\)")
ROOMS = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
TOP = {"orchestrator", "tests", "docs", "configs", "compose", "images", ".ci"}


def code(page: Path) -> Iterator[str]:
    """Every line of code, and every span of it in prose, as somebody would type it."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        yield from match[3].replace("\\\n", " ").splitlines()
    for match in SPAN.finditer(FENCE.sub("", text)):
        yield " ".join(match[1].split())


def test_the_front_page_is_one():
    words = (REPOSITORY / "README.md").read_text(encoding="utf-8").split()
    assert len(words) <= 1500, f"README.md has {len(words)} words: what is more goes to docs/"


def test_the_front_page_and_help_name_every_model_that_can_be_brought():
    from freediv.cli import group
    from freediv.model.brought import what_can_be_brought

    page = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    table = page.split("## What can be brought")[1].split("| --- | --- |\n")[1].split("\n\n")[0]
    assert table.splitlines() == [f"| {what} | {how} |" for what, how in what_can_be_brought()]
    for command in ("finetune", "convert"):
        found = group.get_command(click.Context(group), command)
        told = " ".join(found.get_help(click.Context(found)).split())
        assert all(" ".join(how.split()) in told for _, how in what_can_be_brought())


@each_page
def test_every_link_leads_to_a_file(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    missing = [target for target in LINK.findall(text) if target and not (page.parent / target).exists()]
    assert not missing


def named_paths(page: Path) -> Iterator[str]:
    """Spans that are paths of the repository, or of the package, by how they begin."""
    for match in SPAN.finditer(FENCE.sub("", page.read_text(encoding="utf-8"))):
        span = match[1]
        if re.fullmatch(r"\.?[\w-][\w.*-]*(/[\w.*-]+)+/?", span) and span.split("/")[0] in TOP | ROOMS:
            yield span


@each_page
def test_every_file_that_is_named_is_there(page):
    missing = [
        name
        for name in named_paths(page)
        if not any(list(place.glob(name.rstrip("/"))) for place in (REPOSITORY, PACKAGE, page.parent))
    ]
    assert not missing


@each_page
def test_every_make_target_that_is_named_is_there(page):
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {found for line in code(page) for found in re.findall(r"(?:^|=\S+ )make ([a-z][a-z-]*)", line)}
    assert named <= targets, sorted(named - targets)


def calls(page: Path) -> Iterator[list[str]]:
    """Commands of freediv, as a shell would split them."""
    for line in code(page):
        found = re.match(r"(?:\$ )?((?:(?!freediv )\S+ )*?(?<![\w/-])freediv [a-z].*)", line.strip())
        for part in re.split(r" *(?:&&|;|\|) *", found[1] if found else ""):
            if part.startswith("freediv "):
                try:
                    words = shlex.split(part, comments=True)
                except ValueError:
                    pytest.fail(f"{page.name}: a shell would not take: {part}")
                yield words[1:]


def wrong(words: list[str]) -> str | None:
    """What is wrong with a command; None: it exists, and has the options."""
    from freediv.cli import group

    command: click.Command = group
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        with click.Context(command) as context:
            found = command.get_command(context, name)
        if found is None:
            return f"there is no command {name!r}"
        command = found
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known | {"--help"}]
    return f"{command.name} has no {', '.join(unknown)}" if unknown else None


@each_page
def test_every_command_that_is_named_exists_with_its_options(page):
    found = {" ".join(words): wrong(list(words)) for words in calls(page)}
    assert not {call: why for call, why in found.items() if why}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("freediv infer deployment --text 'a film'", None),
        ("freediv bench layer --variants ours", None),
        ("freediv infre deployment", "there is no command 'infre'"),
        ("freediv infer deployment --txt 'a film'", "infer has no --txt"),
        ("freediv bench lair", "there is no command 'lair'"),
    ],
)
def test_a_command_that_does_not_exist_is_found(line, why):
    assert wrong(shlex.split(line)[1:]) == why


def test_commands_are_found_in_prose_and_in_blocks():
    found = [words[0] for words in calls(REPOSITORY / "README.md")]
    assert {"bench", "finetune", "convert", "evaluate", "render", "up", "load", "infer", "down", "images"} <= set(found)


# --- the site ---


class Page(HTMLParser):
    """What a page links to and loads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        own = {name: value or "" for name, value in attrs}
        self.anchors |= {own[name] for name in ("id", "name") if name in own}
        if tag == "a" and "href" in own:
            self.links.append(own["href"])
        for name in ("src", "href"):
            if tag in ("script", "img", "link", "iframe") and name in own and own.get("rel") != "canonical":
                self.loads.append(own[name])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)]
    made = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return directory


def test_the_site_has_all_pages_and_every_link_leads_somewhere(site):
    pages = {path: Page(path) for path in site.rglob("*.html")}
    names = {path.stem for path in pages}
    assert {path.stem for path in (REPOSITORY / "docs").glob("*.md")} | {"index", "contributing", "changelog"} <= names
    broken = []
    for path, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", target) or path.name == "404.html":
                continue
            there = (path.parent / target).resolve() if target else path
            there = there / "index.html" if there.is_dir() else there
            if not there.exists() or (anchor and there in pages and anchor not in pages[there].anchors):
                broken.append(f"{path.name}: {link}")
    assert not broken


def test_the_site_loads_nothing_from_a_network(site):
    loads = {load for path in site.rglob("*.html") for load in Page(path).loads}
    assert not {load for load in loads if re.match(r"([a-z]+:)?//", load)}


def test_the_reference_has_the_docstrings(site):
    text = (site / "reference.html").read_text(encoding="utf-8")
    assert 'id="freediv.model.limits"' in text
    assert "What is told" in text


def test_every_page_is_in_the_menu():
    menu = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"[\w-]+\.md", yaml.safe_dump(yaml.safe_load(menu)["nav"])))
    assert {path.name for path in (REPOSITORY / "docs").glob("*.md")} <= listed
