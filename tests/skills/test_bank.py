"""The bundled bank, its hash, and the table of banks that must be refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.resources import resource_dir
from sdar_cli.skills.bank import bank_names, load_bank
from sdar_cli.skills.files import MAX_BYTES

BRIEFS = {
    "general": "search every place and open closed ones.",
    "pick_and_place_simple": "take it, go to the target and move it there.",
    "look_at_obj_in_light": "take it, go to the desklamp and use it while holding it.",
    "pick_clean_then_place_in_recep": "take it, clean it with the sinkbasin, then move it to the target.",
    "pick_heat_then_place_in_recep": "take it, heat it with the microwave, then move it to the target.",
    "pick_cool_then_place_in_recep": "take it, cool it with the fridge, then move it to the target.",
    "pick_two_obj_and_place": "take one, move it to the target, then find the second and do the same.",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled bank."""
    return Path(shutil.copytree(resource_dir("skillbanks") / "alfworld", tmp_path / "bank"))


def test_bundled_bank_loads():
    bank = load_bank("alfworld")
    assert (bank.name, bank.environment, bank.licence) == ("alfworld", "alfworld", "Apache-2.0")
    assert bank.skills[0].category == "general"
    assert {skill.category for skill in bank.skills} == {"general", *bank.categories}
    assert all(bank.categories.values())


def test_briefs_are_those_the_tiny_policy_was_trained_on():
    assert {skill.category: skill.brief for skill in load_bank("alfworld").skills} == BRIEFS


@pytest.mark.parametrize("skill", load_bank("alfworld").skills, ids=lambda skill: skill.id)
def test_texts_have_a_readable_length_and_no_front_matter(skill):
    assert 120 <= len(skill.text.split()) <= 250
    assert "+++" not in skill.text
    assert "\n" not in skill.when


def test_name_and_folder_give_the_same_bank(folder):
    by_name, by_path = load_bank("alfworld"), load_bank(folder)
    assert by_name == by_path
    assert len(by_name.sha256) == 64


@pytest.mark.parametrize(
    "change",
    [
        lambda f: (f / "general.md").write_text((f / "general.md").read_text() + "\nMore.\n"),
        lambda f: (f / "general.md").rename(f / "generic.md"),
        lambda f: (f / "bank.toml").write_text((f / "bank.toml").read_text() + "# a note\n"),
        lambda f: _add(f, "extra.md", "extra", "general"),
    ],
    ids=["text", "file name", "bank.toml", "new file"],
)
def test_hash_follows_content(folder, change):
    before = load_bank(folder).sha256
    change(folder)
    assert load_bank(folder).sha256 != before


def test_hash_does_not_see_time_stamps_or_other_files(folder):
    before = load_bank(folder).sha256
    os.utime(folder / "general.md", (1, 1))
    (folder / "notes.txt").write_text("not a skill")
    (folder / ".#general.md").write_bytes(b"\xff editor's lock")
    assert load_bank(folder).sha256 == before


def test_hash_depends_on_where_one_file_ends(tmp_path):
    """The same bytes in a row, cut elsewhere, are another bank."""
    from sdar_cli.skills.files import content_hash

    assert content_hash({"a": b"xb", "c": b""}) != content_hash({"a": b"x", "bc": b""})
    assert content_hash({"a": b"1", "b": b"2"}) == content_hash({"b": b"2", "a": b"1"})


def test_windows_line_ends_and_byte_order_mark_are_read(folder):
    path = folder / "general.md"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_bank(folder).skills[0].text == load_bank("alfworld").skills[0].text


def test_several_skills_of_a_category_are_ordered_by_path(folder):
    _add(folder, "more/zz.md", "zz", "pick_heat_then_place_in_recep")
    _add(folder, "aa.md", "aa", "pick_heat_then_place_in_recep")
    ids = [skill.id for skill in load_bank(folder).of("pick_heat_then_place_in_recep")]
    assert ids == ["aa", "zz", "pick_heat_then_place_in_recep"]


def test_unknown_bank_lists_names_and_suggests():
    with pytest.raises(ConfigError) as caught:
        load_bank("alfwrold")
    assert "did you mean alfworld?" in caught.value.why
    assert all(name in caught.value.why for name in bank_names())
    assert caught.value.exit_code == 2


def _add(folder: Path, name: str, identity: str, category: str, brief: str = "b") -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'+++\nid = "{identity}"\ncategory = "{category}"\nwhen = "w"\nbrief = "{brief}"\n+++\ntext\n')


def _escape(folder: Path) -> None:
    outside = folder.parent / "outside.md"
    shutil.copy(folder / "general.md", outside)
    (folder / "general.md").unlink()
    (folder / "general.md").symlink_to(outside)


def _escape_by_folder(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder / "more").symlink_to(folder.parent / "elsewhere")


def _circle(folder: Path) -> None:
    (folder / "a.md").symlink_to(folder / "b.md")
    (folder / "b.md").symlink_to(folder / "a.md")


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def _sub(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


BAD = {
    "no bank.toml": (lambda f: (f / "bank.toml").unlink(), "bank", "no bank.toml"),
    "bad TOML": (_sub("bank.toml", "version =", "version"), "bank.toml", "bad TOML"),
    "unknown key": (_sub("bank.toml", "licence =", "license ="), "bank.toml", "the key licence is missing"),
    "no categories": (lambda f: (f / "bank.toml").write_text('name = "x"\n'), "bank.toml", "categories"),
    "general has keywords": (
        _sub("bank.toml", "[categories.pick_two_obj_and_place]", "[categories.general]"),
        "bank.toml",
        "not a task type",
    ),
    "no front matter": (lambda f: (f / "general.md").write_text("# Text\n"), "general.md", "front matter"),
    "open front matter": (lambda f: (f / "general.md").write_text('+++\nid = "x"\n'), "general.md", "front matter"),
    "bad front matter": (_sub("general.md", "id =", "id"), "general.md", "bad TOML"),
    "missing key": (_sub("general.md", "when =", "# when ="), "general.md", "the key when is missing"),
    "brief of two lines": (_sub("general.md", "every place and", r"every place\nand"), "general.md", "brief"),
    "no text": (
        lambda f: _add(f, "general.md", "general", "general") or _sub("general.md", "text", "")(f),
        "general.md",
        "no text",
    ),
    "duplicate id": (lambda f: _add(f, "again.md", "general", "general"), ".md", "the id 'general' is also"),
    "unknown category": (lambda f: _add(f, "odd.md", "odd", "pick_three"), "odd.md", "unknown category 'pick_three'"),
    "empty category": (
        lambda f: (f / "look_at_obj_in_light.md").unlink(),
        "bank.toml",
        "no skill for look_at_obj_in_light",
    ),
    "not UTF-8": (
        lambda f: (f / "general.md").write_bytes(b"+++\nid = '\xff'\n+++\n"),
        "general.md",
        "not UTF-8 (byte 10)",
    ),
    "too large": (lambda f: (f / "general.md").write_bytes(b"x" * (MAX_BYTES + 1)), "general.md", "262145 bytes"),
    "outside": (_escape, "general.md", "outside the bank's folder"),
    "folder outside": (_escape_by_folder, "more", "outside the bank's folder"),
    "link to itself": (lambda f: (f / "loop.md").symlink_to(f / "loop.md"), "loop.md", "run in a circle"),
    "links in a circle": (_circle, ".md", "run in a circle"),
    "link to the bank": (lambda f: (f / "more").symlink_to(f), "more", "a link to a folder"),
    "link to nothing": (lambda f: (f / "gone.md").symlink_to(f / "nothing.md"), "gone.md", "a link to nothing"),
    "no file": (lambda f: os.mkfifo(f / "pipe.md"), "pipe.md", "no regular file"),
    "include in the bank": (_sub("bank.toml", "name =", 'include = "x"\nname ='), "bank.toml", "includes nothing"),
    "include in a skill": (_sub("general.md", "id =", 'include = "x"\nid ='), "general.md", "includes nothing"),
    "endless number": (_sub("general.md", "id =", f"n = {'9' * 5000}\nid ="), "general.md", "cannot be read"),
    "endless nesting": (_sub("general.md", "id =", f"n = {'[' * 5000}\nid ="), "general.md", "TOML"),
    "unknown kind": (_sub("general.md", "id =", 'kind = "law"\nid ='), "general.md", "kind"),
    "sources of many lines": (_sub("general.md", "id =", 'sources = ["a\\nb"]\nid ='), "general.md", "sources.0"),
    "nameless category": (
        _sub("bank.toml", "[categories.pick_two_obj_and_place]", '[categories.""]'),
        "bank.toml",
        "categories",
    ),
    "bad origin": (lambda f: _append(f / "bank.toml", "\n[origin]\nbuilder = 1\n"), "bank.toml", "origin.builder"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_banks_are_refused(folder, name):
    change, path, why = BAD[name]
    change(folder)
    with pytest.raises(ConfigError) as caught:
        load_bank(folder)
    assert caught.value.what.endswith(path)
    assert why in caught.value.why
    assert caught.value.fix


def test_largest_file_is_allowed(folder):
    path = folder / "general.md"
    text = path.read_bytes()
    path.write_bytes(text + b"x" * (MAX_BYTES - len(text)))
    assert load_bank(folder).skills[0].text.endswith("xxx")


def test_links_inside_the_bank_are_read(folder):
    text = (folder / "general.md").read_text()
    (folder / "general.md").unlink()
    (folder / "general.txt").write_text(text)
    (folder / "general.md").symlink_to(folder / "general.txt")
    assert load_bank(folder).skills == load_bank("alfworld").skills


def test_sources_kind_and_origin_are_read(folder):
    _sub("general.md", "id =", 'sources = ["run/a.jsonl:1-3", "run/b.jsonl:2"]\nkind = "mistake"\nid =')(folder)
    origin = 'builder = "hand"\nsdar = "1"\nepisodes = 4\nwon = 3\nfiles = { "a" = "00" }\n'
    _append(folder / "bank.toml", f"\n[origin]\n{origin}")
    bank = load_bank(folder)
    assert bank.skills[0].sources == ("run/a.jsonl:1-3", "run/b.jsonl:2")
    assert (bank.skills[0].kind, bank.skills[1].kind) == ("mistake", "skill")
    assert bank.origin and (bank.origin.builder, bank.origin.won, bank.origin.files) == ("hand", 3, {"a": "00"})
    assert load_bank("alfworld").origin is None


HEADER_TEXT = b'name = "b"\nversion = "1"\nenvironment = "e"\nlicence = "l"\n[categories.c]\n'
SKILL_TEXT = b'+++\nid = "i"\ncategory = "c"\nwhen = "w"\nbrief = "b"\n+++\ntext\n'
PIECES = (b"+++", b"\n", b"\r\n", b'id = "', b'"', b"=", b"[", b"]", b"{", b"\\", b"\x00", b"\xff", b"\xef\xbb\xbf")
PIECES += (b"9" * 5000, b"include = ", b"kind", b"[categories.", b"\x27\x27\x27", "é".encode(), b"\xe2\x80\xa8")


@st.composite
def spoiled(draw: st.DrawFn, original: bytes) -> bytes:
    """Any bytes, or the original with something put in, with or without a part of it cut out."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(original))] * 2)))
    new = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)))
    return original[:start] + new + original[draw(st.sampled_from([start, end])) :]


HEADERS = st.one_of(st.just(HEADER_TEXT), spoiled(HEADER_TEXT))
SKILLS = st.one_of(st.just(SKILL_TEXT), spoiled(SKILL_TEXT))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=HEADERS, skill=SKILLS)
@example(header=HEADER_TEXT, skill=SKILL_TEXT)
def test_any_bytes_are_a_bank_or_a_clear_error(tmp_path, header, skill):
    (tmp_path / "bank.toml").write_bytes(header)
    (tmp_path / "skill.md").write_bytes(skill)
    try:
        bank = load_bank(tmp_path)
    except ConfigError as error:
        assert (header, skill) != (HEADER_TEXT, SKILL_TEXT), "the fuzz begins at a good bank"
        assert error.what.startswith("bad skill bank: ") and error.why and error.fix
    else:
        assert bank.skills[0].text.strip() and bank.skills[0].category in {"general", *bank.categories}
