"""What mkdocs takes beside docs/: pages that lie where readers of the repository look for them."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "compose/README.md": "containers.md",
    "configs/recipes/README.md": "recipes.md",
    "images/README.md": "images.md",
    "orchestrator/freediv/models/demo/README.md": "demo-model.md",
}
"""Where a page lies in the repository, and what it is called on the site."""
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Take in the pages of the repository."""
    for source, name in PAGES.items():
        files.append(File.generated(config, name, abs_src_path=str(REPOSITORY / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Have links to files of the repository lead to their pages; what has none is named.

    A file that is not there stays a link, which mkdocs then refuses.
    """
    source = Path(page.file.abs_src_path).relative_to(REPOSITORY).as_posix()

    def led(match: re.Match[str]) -> str:
        image, text, target, anchor = match.groups(default="")
        there = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        name = PAGES.get(there, posixpath.relpath(there, "docs"))
        if name.startswith("../") and (REPOSITORY / there).exists():
            return text
        return f"{image}[{text}]({name}{anchor})"

    return LINK.sub(led, markdown)
