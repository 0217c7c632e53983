"""Every page: the files and links that it names exist; the citation and the changelog belong to this version."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
import yaml
from places import ROOT

import sdar_cli

PAGES = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md"))]
PATH = re.compile(r"`((?:[\w.*-]+/)+[\w.*-]*)`(?: \(`(\w+)`\))?")
TOPS = {"sdar_cli", "presets", "skillbanks", "tests", "benchmarks"}
ROOMS = {path.name for path in (ROOT / "sdar_cli").iterdir() if path.is_dir() and path.name.isidentifier()}


def files(text: str) -> list[tuple[str, str]]:
    """(path, name that should be in it, or "") of every file and folder in backticks below a room or a top folder.

    ``runs/NAME/`` is none: capitals stand for what a user names.
    """
    return [
        (path, name)
        for path, name in PATH.findall(text)
        if path.split("/")[0] in TOPS | ROOMS and re.search(r"/$|\.\w+$", path) and not re.search(r"[A-Z]{3}", path)
    ]


def found(path: str) -> list[Path]:
    """What a path means, below the root or below sdar_cli/; a star stands for any name."""
    return [file for base in (ROOT, ROOT / "sdar_cli") for file in base.glob(path.rstrip("/"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_it_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [path for path, _ in files(text) if not found(path)]
    assert not missing, f"{page.name} names files that are not there: {', '.join(missing)}"
    strange = [
        f"{name} in {path}"
        for path, name in files(text)
        if name and not any(name in file.read_text(encoding="utf-8") for file in found(path))
    ]
    assert not strange, f"{page.name} names what is not in the file: {', '.join(strange)}"


def test_the_index_names_its_files_in_a_form_that_is_checked() -> None:
    """Every module in the column of files has its folder, so that the test above sees it."""
    index = (ROOT / "docs" / "paper_index.md").read_text(encoding="utf-8")
    assert re.findall(r"`\w+\.py`", index) == []
    assert len(files(index)) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if heading and file.suffix == ".md":
            assert heading in anchors(file), f"{page.name} links to {target}, and there is no such heading"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_room_has_its_line_in_the_architecture() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", page, re.MULTILINE)
    assert sorted(named) == sorted(ROOMS - {"_resources", "__pycache__"} | {"session", "cli"})


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == sdar_cli.__version__
    assert citation["license"] == "Apache-2.0"
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= paper.keys() and {"message", "title", "authors"} <= citation.keys()
    assert "2605.15155" in paper["url"]
    for author in [*citation["authors"], *paper["authors"]]:
        assert author.keys() in ({"name"}, {"given-names", "family-names"})


def test_the_changelog_knows_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[([\w.]+)\](?: - (\S+))?$", text, re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == sdar_cli.__version__
    days = [date.fromisoformat(day) for _, day in headings[1:]]
    assert days == sorted(days, reverse=True)
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
