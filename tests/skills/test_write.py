"""Banks written and read back."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdar_cli.base.errors import ConfigError
from sdar_cli.skills.bank import Origin, Skill, load_bank
from sdar_cli.skills.write import Draft, file_names, quoted, renamed, write_bank

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
LINES = TEXTS.filter(lambda text: text[:1].strip() and not set(text) & {"\r", "\n"})


@pytest.mark.parametrize("name", ["alfworld", "webshop", "search"])
def test_a_bundled_bank_survives(name, tmp_path):
    bank = load_bank(name)
    copy = write_bank(renamed(bank), tmp_path / "copy")
    assert copy.skills == bank.skills and dict(copy.categories) == dict(bank.categories)
    assert list(copy.categories) == list(bank.categories)
    assert (copy.types, copy.routes) == (bank.types, bank.routes)


@given(TEXTS)
def test_any_text_is_a_toml_string(text):
    assert tomllib.loads(f"a = {quoted(text)}") == {"a": text}


@settings(max_examples=60, deadline=None)
@given(ids=st.lists(LINES, min_size=1, max_size=4, unique=True), line=LINES, body=LINES, category=LINES)
def test_any_skill_survives(tmp_path_factory, ids, line, body, category):
    if category == "general":
        return
    out = tmp_path_factory.mktemp("banks") / "bank"
    body = body.strip()
    skills = [Skill(i, category, line, line, body, "", (line,), "mistake") for i in ids]
    origin = Origin(builder=line, sdar="1", episodes=2, won=1, files={line: "ab"})
    bank = write_bank(Draft(line, "1", "e", "l", {category: (line,)}, skills, origin), out)
    assert {s.id for s in bank.skills} == set(ids) and bank.origin == origin and bank.name == line
    assert {(s.text, s.when, s.sources, s.kind) for s in bank.skills} == {(body, line, (line,), "mistake")}


def _skill(identity: str) -> Skill:
    return Skill(identity, "c", "w", "b", "t", "")


def test_names_of_files_are_distinct_and_plain():
    names = file_names([_skill(i) for i in ("a b", "a/b", "../a", "A-B", "日本", "")])
    assert names == ["a-b.md", "a-b-2.md", "a.md", "A-B-3.md", "skill.md", "skill-2.md"]


def test_nothing_is_left_of_a_bank_that_is_not_legal(tmp_path):
    draft = Draft("b", "1", "e", "l", {"c": ()}, [_skill("a"), _skill("a")])
    with pytest.raises(ConfigError, match=f"bad skill bank: {tmp_path / 'out'}") as caught:
        write_bank(draft, tmp_path / "out")
    assert "the id 'a'" in caught.value.why
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_not_overwritten(tmp_path):
    (tmp_path / "file").touch()
    for taken in (tmp_path, tmp_path / "file"):
        with pytest.raises(ConfigError, match="not empty"):
            write_bank(Draft("b", "1", "e", "l", {"c": ()}, [_skill("a")]), taken)


def test_a_folder_called_as_a_bundled_bank_is_read_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bank = write_bank(Draft("mine", "1", "e", "l", {"c": ()}, [_skill("a")]), Path("alfworld"))
    assert bank.name == "mine"
