"""The original's own episodes, replayed: observation, reward, done, address and what can be clicked at every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import webshop_material as material

from sdar_cli.envs.webshop.catalogue.catalog import Catalog, open_catalog
from sdar_cli.envs.webshop.catalogue.nouns import Nouns
from sdar_cli.envs.webshop.lucene.bm25 import Index
from sdar_cli.envs.webshop.store.goals import Goals, load_goals
from sdar_cli.envs.webshop.store.shop import DEVIATIONS, Shop, ShopSession

pytestmark = material.needs_golden


class Engine:
    """What all episodes share."""

    def __init__(self, folder: Path) -> None:
        self.catalog: Catalog = open_catalog(material.CATALOGUE, cache=folder)
        self.index = Index.build(self.catalog.texts(), folder / "index", keys=self.catalog.asins())
        self.nouns = Nouns(material.golden_nouns(), "golden")
        self.goals: dict[str, Goals] = {
            "human": load_goals(self.catalog, "human"),
            "synthetic": load_goals(self.catalog, "synthetic"),
        }

    def start(self, episode: dict[str, Any], **how: Any) -> ShopSession:
        shop = Shop(self.catalog, self.goals[episode["goals"]], self.index, self.nouns, **how)
        return shop.start(episode["session"], seed=episode.get("py_random_seed_before_reset", 0))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(tmp_path_factory.mktemp("golden"))


def seen(session: ShopSession) -> dict[str, Any]:
    return {"has_search_bar": session.has_search_bar, "clickables": session.clickables}


def play(session: ShopSession, steps: list[dict[str, Any]]) -> None:
    for number, step in enumerate(steps):
        before = (session.observation, session.url, seen(session))
        turn = session.step(step["action"])
        place = f"step {number}: {step['action']}"
        if "raises" in step:  # the original fails: nothing happens here
            assert step["action"].startswith(("search[<a>", "search[<c>]")), place
            assert (turn.reward, turn.done) == (0.0, False), place
            assert (session.observation, session.url, seen(session)) == before, place
            continue
        assert (turn.observation, turn.reward, turn.done) == (step["obs"], step["reward"], step["done"]), place
        assert seen(session) == step["avail"], place
        assert session.url == step.get("url", session.url), place


def episode_id(episode: dict[str, Any]) -> str:
    return f"{episode['goals']}-{episode.get('mode', 'text')}-{episode['session']}"


@pytest.mark.parametrize("mode", ["text", "text_rich"])
@pytest.mark.parametrize("kind", ["human", "synthetic"])
def test_episodes(engine: Engine, mode: Any, kind: str) -> None:
    episodes = [row for row in material.golden("golden_episodes.jsonl") if (row["mode"], row["goals"]) == (mode, kind)]
    for episode in episodes:
        session = engine.start(episode, mode=mode)
        assert session.observation == episode["reset"]["obs"], episode_id(episode)
        assert seen(session) == episode["reset"]["avail"]
        play(session, episode["steps"])
        info = session.purchase.info() if session.purchase else None
        assert info == episode.get("info"), episode_id(episode)


def test_there_are_170_episodes_of_2325_steps() -> None:
    episodes = material.golden("golden_episodes.jsonl")
    assert (len(episodes), sum(len(episode["steps"]) for episode in episodes)) == (170, 2325)


def test_episodes_with_the_attributes_page(engine: Engine) -> None:
    episodes = material.golden("golden_episodes_show_attrs.jsonl")
    assert len(episodes) == 6
    for episode in episodes:
        session = engine.start(episode, mode=episode["mode"], show_attrs=True)
        assert session.observation == episode["reset"]["obs"]
        play(session, episode["steps"])


@pytest.mark.parametrize(
    "script", material.golden("golden_edge.jsonl"), ids=lambda script: f"script{script['session']}"
)
def test_edge_scripts(engine: Engine, script: dict[str, Any]) -> None:
    session = engine.start(script)
    assert session.observation == script["reset"]
    play(session, script["steps"])


def test_what_the_original_fails_on_is_documented() -> None:
    failing = [
        step["action"] for row in material.golden("golden_edge.jsonl") for step in row["steps"] if "raises" in step
    ]
    assert failing == ["search[<a> solid wood]", "search[<c>]"]
    assert {"search[<a> words]", "search[<c>]"} <= set(DEVIATIONS)
