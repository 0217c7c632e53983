"""Foreign formats: files written here, imported, exported, and imported again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdar_cli.base.errors import ConfigError
from sdar_cli.skills.bank import Bank, load_bank
from sdar_cli.skills.convert.convert import read_foreign, write_foreign
from sdar_cli.skills.convert.parts import Header
from sdar_cli.skills.write import write_bank

CLAUDE = {
    "general_skills": [
        {
            "skill_id": "gen_001",
            "title": "Look before walking",
            "principle": "Search surfaces first.  Then open what is closed.",
            "when_to_apply": "At the start.",
        },
        {"title": "No id", "principle": "A principle\nof two lines.", "when_to_apply": "Any time"},
    ],
    "task_specific_skills": {
        "clean": [{"skill_id": "cle_001", "title": "Wash it", "principle": "Use the basin.", "when_to_apply": "Clean"}],
        "heat": [
            {"skill_id": "hea_001", "title": "Warm it", "principle": "Use the microwave.", "when_to_apply": "Hot"},
            {"skill_id": "hea_002", "title": "Hold it", "principle": "Keep it in hand.", "when_to_apply": "Hot"},
        ],
        "empty": [],
    },
    "common_mistakes": [
        {
            "mistake_id": "err_001",
            "description": "Putting it inside",
            "why_it_happens": "It looks like cooking.",
            "how_to_avoid": "Heat it from your hand.",
        }
    ],
}
BY_TYPE = {
    **CLAUDE,
    "common_mistakes": {"heat": [{"title": "Stove", "principle": "It does not heat.", "when_to_apply": "Hot"}]},
}


def header(**rename: tuple[str, ...]) -> Header:
    return Header("b", "1", "alfworld", "MIT", rename)


def write(path: Path, data: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def mapping_folder(folder: Path) -> Path:
    """SDAR's layout: two task types share a file, one type has no keywords, one file is used by none."""
    write(folder / "general_skills.md", "# General\n\nSearch every place. Then go on.\n")
    write(folder / "place.md", "# Place\n\nTake it. Bring it.\n")
    write(folder / "heat.md", "# Heat\n\nUse the microwave.\n")
    write(folder / "old.md", "# Old\n\nNobody reads this.\n")
    mapping = {
        "skill_files": {"general_skills": "general_skills.md", "place": "place.md", "heat": "heat.md", "old": "old.md"},
        "task_to_skill": {"pick_one": "place", "pick_two": "place", "pick_hot": "heat"},
        "task_keywords": {"pick_hot": ["heat", "hot"], "pick_two": ["put two"]},
        "comment": "x",
    }
    write(folder / "skill_mapping.json", mapping)
    return folder


def imported(source: Path, out: Path, **rename: tuple[str, ...]) -> tuple[Bank, list[str]]:
    draft, warnings = read_foreign(source, header(**rename))
    return write_bank(draft, out), warnings


def same_skills(a: Bank, b: Bank) -> bool:
    """But for the names of files."""
    return [(s.id, s.category, s.when, s.brief, s.text, s.kind) for s in a.skills] == [
        (s.id, s.category, s.when, s.brief, s.text, s.kind) for s in b.skills
    ]


def test_claude_entries_become_skills(tmp_path):
    bank, warnings = imported(write(tmp_path / "a.json", CLAUDE), tmp_path / "bank")
    by_id = {skill.id: skill for skill in bank.skills}
    assert list(bank.categories) == ["clean", "heat"]
    assert by_id["gen_001"].category == "general" and by_id["gen_001"].when == "At the start."
    assert by_id["gen_001"].brief == "Search surfaces first."
    assert by_id["gen_001"].text == "# Look before walking\n\nSearch surfaces first.  Then open what is closed."
    assert by_id["gen_002"].brief == "A principle of two lines."
    assert [skill.id for skill in bank.of("heat")] == ["hea_001", "hea_002"]
    mistake = by_id["err_001"]
    assert (mistake.kind, mistake.category, mistake.when) == ("mistake", "general", "Always.")
    assert (
        mistake.text
        == "# Putting it inside\n\nWhy it happens: It looks like cooking.\n\nInstead: Heat it from your hand."
    )
    assert warnings == [f"{kind}: no keywords, so keyword retrieval never chooses it" for kind in ("clean", "heat")]


@pytest.mark.parametrize("data", [CLAUDE, BY_TYPE], ids=["mistakes in a list", "mistakes by type"])
def test_claude_round_trip(tmp_path, data):
    bank, _ = imported(write(tmp_path / "a.json", data), tmp_path / "bank")
    write_foreign(bank, "claude", tmp_path / "b.json")
    again, _ = imported(tmp_path / "b.json", tmp_path / "again")
    assert same_skills(bank, again)
    out = json.loads((tmp_path / "b.json").read_text())
    assert out["general_skills"][0] == CLAUDE["general_skills"][0]
    assert out["task_specific_skills"] == {k: v for k, v in CLAUDE["task_specific_skills"].items() if v}
    if data is CLAUDE:
        assert out["common_mistakes"] == CLAUDE["common_mistakes"]
    else:
        (mistake,) = again.of("heat")[:1]
        assert (mistake.id, mistake.kind) == ("err_001", "mistake")


def test_a_bundled_bank_survives_claude_but_for_what_the_format_cannot_hold(tmp_path):
    bank = load_bank("alfworld")
    warnings = write_foreign(bank, "claude", tmp_path / "a.json")
    assert sorted(warnings) == sorted(f"{kind}: its keywords are not in this format" for kind in bank.categories)
    again, _ = imported(tmp_path / "a.json", tmp_path / "bank")
    assert same_skills(bank, again)
    assert not any(again.categories.values())


def test_task_types_are_renamed_and_spread(tmp_path):
    source = write(tmp_path / "a.json", CLAUDE)
    bank, warnings = imported(source, tmp_path / "bank", clean=("pick_clean",), heat=("hot", "warm"), cool=("cold",))
    assert list(bank.categories) == ["pick_clean", "hot", "warm"]
    assert [skill.id for skill in bank.of("warm")] == ["hea_001-warm", "hea_002-warm"]
    assert [skill.text for skill in bank.of("warm")] == [skill.text for skill in bank.of("hot")]
    assert "--map cool: the file has no such task type" in warnings


def test_unknown_keys_are_reported(tmp_path):
    entry = {"title": "t", "principle": "p", "when_to_apply": "w", "tags": ["x"]}
    data = {"task_specific_skills": {"heat": [entry]}, "metadata": {}}
    _, warnings = imported(write(tmp_path / "a.json", data), tmp_path / "bank")
    assert "a.json: the key 'metadata' was left out" in warnings
    assert "task_specific_skills.heat[0]: the key 'tags' was left out" in warnings


def test_mapping_is_read(tmp_path):
    bank, warnings = imported(mapping_folder(tmp_path / "skills"), tmp_path / "bank")
    assert [(skill.id, skill.category) for skill in bank.skills] == [
        ("general", "general"),
        ("pick_hot", "pick_hot"),
        ("pick_two", "pick_two"),
        ("pick_one", "pick_one"),
    ]
    assert bank.categories == {"pick_hot": ("heat", "hot"), "pick_two": ("put two",), "pick_one": ()}
    assert bank.skills[0].brief == "Search every place." and bank.skills[2].sources == ("place.md",)
    assert bank.of("pick_one")[0].text == bank.of("pick_two")[0].text == "# Place\n\nTake it. Bring it."
    assert warnings == [
        "skill_mapping.json: the key 'comment' was left out",
        "skill_mapping.json: no task type uses 'old'; it was left out",
        "pick_one: no keywords, so keyword retrieval never chooses it",
    ]


def test_mapping_round_trip(tmp_path):
    bank, _ = imported(mapping_folder(tmp_path / "skills"), tmp_path / "bank")
    write_foreign(bank, "mapping", tmp_path / "out")
    again, _ = imported(tmp_path / "out" / "skill_mapping.json", tmp_path / "again")
    assert bank == again or (again.skills, again.categories) == (bank.skills, bank.categories)
    made = json.loads((tmp_path / "out" / "skill_mapping.json").read_text())
    given = json.loads((tmp_path / "skills" / "skill_mapping.json").read_text())
    assert made["task_to_skill"] == given["task_to_skill"] and made["task_keywords"] == given["task_keywords"]
    assert made["skill_files"] == {k: v for k, v in given["skill_files"].items() if k != "old"}
    for name in made["skill_files"].values():
        assert (tmp_path / "out" / name).read_text() == (tmp_path / "skills" / name).read_text()


def test_mapping_says_what_it_loses(tmp_path):
    bank, _ = imported(write(tmp_path / "a.json", CLAUDE), tmp_path / "bank")
    warnings = write_foreign(bank, "mapping", tmp_path / "out")
    assert "heat: its 2 skills became one text" in warnings
    assert (tmp_path / "out" / "heat.md").read_text().count("# ") == 2
    shown = write_foreign(load_bank("webshop"), "mapping", tmp_path / "shop")
    assert any("match inside words" in warning for warning in shown)


BAD = {
    "not JSON": ("{", "not JSON"),
    "too deep": ("[" * 100_000, "not JSON"),
    "no object": ([], "top level"),
    "another file": ({"skills": []}, "none of general_skills"),
    "section": ({"general_skills": 3}, "general_skills is neither"),
    "entries": ({"task_specific_skills": {"heat": "x"}}, "task_specific_skills is neither"),
    "entry": ({"general_skills": ["x"]}, "general_skills.general[0] is no object"),
    "no principle": ({"general_skills": [{"title": "t"}]}, "needs a title and a principle"),
    "number": ({"general_skills": [{"title": 1, "principle": "p"}]}, "title is no text"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(tmp_path, name):
    data, why = BAD[name]
    with pytest.raises(ConfigError) as caught:
        read_foreign(write(tmp_path / "a.json", data), header())
    assert why in caught.value.why and caught.value.fix


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"task_to_skill": {"a": "missing"}}, "names 'missing'"),
        ({"skill_files": {"x": "../secret.md"}, "task_to_skill": {"a": "x"}}, "outside the folder"),
        ({"skill_files": {"x": "gone.md"}, "task_to_skill": {"a": "x"}}, "No such file"),
        ({"skill_files": {"x": "empty.md"}, "task_to_skill": {"a": "x"}}, "it is empty"),
        ({"skill_files": {"x": "binary.md"}, "task_to_skill": {"a": "x"}}, "not UTF-8"),
        ({"skill_files": {"x": "huge.md"}, "task_to_skill": {"a": "x"}}, "larger than"),
        ({"skill_files": ["a"]}, "skill_files is no object"),
        ({"task_keywords": {"pick_hot": "hot"}}, "task_keywords.pick_hot is no list"),
        ({"task_keywords": []}, "task_keywords is no object"),
    ],
)
def test_bad_mappings_are_refused(tmp_path, change, why):
    folder = mapping_folder(tmp_path / "skills")
    write(tmp_path / "secret.md", "s")
    (folder / "empty.md").touch()
    (folder / "binary.md").write_bytes(b"\xff")
    (folder / "huge.md").write_bytes(b"x" * 300_000)
    path = folder / "skill_mapping.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ConfigError) as caught:
        read_foreign(folder, header())
    assert why in caught.value.why


def test_texts_and_names_that_no_file_can_have_are_refused(tmp_path):
    path = tmp_path / "skill_mapping.json"
    for file, word in (("\ud800", "the word"), ("a.md", "\udc00"), ("\0.md", "the word")):
        (tmp_path / "a.md").write_text("# A\n\nDo.\n")
        record = {"skill_files": {"a": file}, "task_to_skill": {"a": "a"}, "task_keywords": {"a": [word]}}
        path.write_text(json.dumps(record))
        with pytest.raises(ConfigError, match="cannot be imported") as caught:
            read_foreign(path, Header("n", "1", "alfworld", "MIT", {}))
        assert "half of a character pair" in caught.value.why or "NUL" in caught.value.why


def test_what_is_neither_format_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="nothing to import"):
        read_foreign(tmp_path, header())
    with pytest.raises(ConfigError, match="no skill of any task type"):
        read_foreign(write(tmp_path / "a.json", {"general_skills": []}), header())


def test_an_export_overwrites_nothing(tmp_path):
    taken = write(tmp_path / "a.json", "x")
    with pytest.raises(ConfigError, match="not empty"):
        write_foreign(load_bank("alfworld"), "claude", taken)
