"""The faster engine says exactly what the unmodified one says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alfworld_material as material
import pytest
from places import ROOT

from sdar_cli.envs.alfworld.engine import derivation, speedup
from sdar_cli.envs.alfworld.engine.engine import GameEngine, speed_up


@pytest.fixture(scope="module")
def engine() -> Iterator[GameEngine]:
    assert speed_up()
    made = GameEngine()
    yield made
    made.close()


def first(root: Path) -> Path:
    return sorted(root.glob("*/*/*/game.tw-pddl"))[0]


def run(code: list[str], **env: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "ALFWORLD_DATA"}
    done = subprocess.run(
        [sys.executable, *code],
        env=kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | env,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("number", range(12))
def test_recorded_transcripts(
    engine: GameEngine, real_root: Path, transcripts: list[dict[str, Any]], number: int
) -> None:
    row = transcripts[number]
    engine.load(real_root / row["game"])
    observation, admissible, won = engine.reset()
    answers = [material.answer_of(observation, 0, won, won, admissible)]
    answers += [material.answer_of(*engine.step(action)) for action in row["actions"]]
    names = ("observation", "reward", "done", "won", "admissible")
    assert answers == [material.answer_of(*(step[name] for name in names)) for step in row["steps"]]


def test_same_as_stock_engine_and_whatever_the_hash_seed(made_root: Path) -> None:
    # An open-and-close game (heat: the apple may lie in a cabinet) and the one with a lamp.
    files = [
        str(path) for path in sorted(made_root.glob("*/*/game.tw-pddl")) if "heat" in str(path) or "look" in str(path)
    ]
    script = str(Path(__file__).with_name("alfworld_material.py"))
    fast = {seed: run([script, "fast", *files], PYTHONHASHSEED=seed) for seed in ("0", "1")}
    assert fast["0"] == fast["1"] == run([script, "stock", *files], PYTHONHASHSEED="2")


def test_assignments_are_those_of_textworld(engine: GameEngine, made_root: Path) -> None:
    from textworld.logic import Placeholder, Rule, State

    engine.load(first(made_root))
    engine.reset()
    state = engine._env._pddl_state
    queries = [
        "inreceptacle(o:object, r:receptacle)",
        "atlocation(a:agent, l:location) & receptacleatlocation(r:receptacle, l:location)",
        "objectatlocation(o:object, l:location) & receptacleatlocation(r:receptacle, l:location) "
        "& inreceptacle(o:object, r:receptacle)",
        "inreceptacle(o:object, r:receptacle) & inreceptacle(p:object, r:receptacle)",
        "openable(r:object)",
        "holdsany(a:agent)",
    ]
    compared = 0
    for text in queries:
        rule = Rule.parse_conjunctive_query(text)
        free = list(state.all_assignments(rule, {}))
        assert free == list(State.all_assignments(state, rule, {}))
        for found in free[:10]:
            some = {Placeholder("r", "receptacle"): found.get(Placeholder("r", "receptacle"))}
            for mapping in (some if all(some.values()) else {}, found):
                assert list(state.all_assignments(rule, mapping)) == list(State.all_assignments(state, rule, mapping))
                compared += 1
    assert compared > 40


def test_a_command_is_derived_again_when_a_fact_it_read_has_changed(engine: GameEngine, made_root: Path) -> None:
    from textworld.logic import Action

    engine.load(first(made_root))
    engine.reset()
    env = engine._env
    state = env._pddl_state
    fact = next(iter(f for f in state.facts if f.name == "inreceptacle"))
    receptacle = fact.arguments[1]

    def text() -> str:
        action = Action("count", [], [])
        placeholder = next(p for a in env.state["_valid_actions"] for p in a.mapping if p.type == "receptacle")
        action.mapping = {placeholder: receptacle}
        action.command_template = f"[{{o.name | inreceptacle(o:object, {placeholder.name}:receptacle)}}]"
        return derivation._command(env, action, [])

    before = text()
    assert env._entity_infos[fact.arguments[0].name].name in before
    assert text() is before
    state.remove_fact(fact)
    assert text() != before
    state.add_fact(fact)
    assert text() == before


def test_reset_starts_afresh_and_the_end_is_the_end(engine: GameEngine, made_root: Path) -> None:
    path = first(made_root)
    engine.load(path)
    start = engine.reset()
    plan = json.loads(path.read_text())["walkthrough"]
    for command in plan:
        answer = engine.step(command)
    assert answer.done and answer.won and answer.reward == 1.0
    with pytest.raises(RuntimeError, match="over"):
        engine.step("look")
    assert engine.reset() == start
    with pytest.raises(RuntimeError, match="before load"):
        GameEngine().reset()


def test_an_engine_survives_a_game_that_does_not_load(made_root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "game.tw-pddl"
    broken.write_text(first(made_root).read_text().replace("(:goal", "(:gaol"))
    speed_up()
    engine = GameEngine()
    with pytest.raises((Exception, SystemExit)):
        engine.load(broken)
    with pytest.raises(RuntimeError):
        engine.reset()
    engine.load(first(made_root))
    assert engine.reset()[0].startswith("-= Welcome")


def test_speed_up_twice_changes_nothing(engine: GameEngine) -> None:
    from textworld.envs.pddl import textgen

    before = (textgen._parse_and_convert, textgen.Symbol.copy)
    assert speed_up() == speed_up()
    assert (textgen._parse_and_convert, textgen.Symbol.copy) == before


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TEXTWORLD_VERSION", "9.9", "for 9.9"),
        ("REPLACED", {"textworld.logic": ("Rule.no_such",)}, "textworld.logic has no Rule.no_such"),
    ],
)
def test_another_textworld_runs_untouched_and_says_so(
    monkeypatch: pytest.MonkeyPatch, name: str, value: Any, message: str
) -> None:
    monkeypatch.setattr(speedup, "_done", [])
    monkeypatch.setattr(speedup, name, value)
    with pytest.warns(RuntimeWarning, match=message):
        assert speed_up() == []


def test_caches_are_bounded() -> None:
    cache: OrderedDict[Any, Any] = OrderedDict.fromkeys(range(speedup.TRANSLATIONS_KEPT + 3))
    instances = dict.fromkeys(range(speedup.INSTANCES_KEPT + 1))
    speedup._trim(cache, instances)
    assert (len(cache), next(iter(cache)), len(instances)) == (speedup.TRANSLATIONS_KEPT, 3, 0)


def test_only_what_is_loaded_of_the_library_is_copied(tmp_path: Path) -> None:
    from importlib.util import find_spec

    spec = find_spec("fast_downward")
    assert spec is not None and spec.origin is not None
    library = Path(spec.origin).with_name("libdownward.so")
    part = Path(speedup.loadable_part(library))
    if sys.platform == "linux":
        assert part.stat().st_size < library.stat().st_size / 10
    text = tmp_path / "not-a-library"
    text.write_text("text")
    assert speedup.loadable_part(text) == str(text)


def test_importing_alfworld_makes_no_folder(tmp_path: Path) -> None:
    code = "from sdar_cli.envs.alfworld.engine.engine import alfworld_module as m; m('alfworld.gen.constants')\n"
    code += "import os; assert 'ALFWORLD_DATA' not in os.environ"
    run(["-c", code], HOME=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
