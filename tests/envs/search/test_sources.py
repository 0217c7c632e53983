"""Where questions and passages come from, what is cached, and what is refused before a model is loaded."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from search_material import write_data, write_lines

from sdar_cli.base.display import Reporter
from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.config.schema import RunConfig
from sdar_cli.envs.panels import make_panel
from sdar_cli.envs.registry import open_environment
from sdar_cli.envs.search.data import sources
from sdar_cli.envs.search.data.sources import ensure_index, find_corpus
from sdar_cli.envs.search.options import SearchOptions
from sdar_cli.retrieval.cache import CachedRetriever
from sdar_cli.retrieval.passages import RetrieverUnavailableError
from sdar_cli.train.preflight import missing


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "search"


def settings(**env: Any) -> SearchOptions:
    source = "real" if env.get("data") else "generated"
    return SearchOptions.model_validate({"name": "search", "source": source, "max_turns": 4, **env})


def test_the_generated_world_is_made_with_its_index_and_found_again(cache: Path) -> None:
    with open_environment(settings()) as environment:
        made = sorted(path.name for path in cache.iterdir())
        (task, *_) = environment.tasks("train")
        environment.preflight(environment.tasks("eval"))
        step = environment.reset({0: task})[0]
        found = environment.step({0: f"<search>{step.observation.goal}</search>"})[0]
        assert "Doc 3(" in found.observation.text
    assert len([name for name in made if name.startswith("world-") and not name.endswith(".json")]) == 1
    with open_environment(settings()) as environment:
        assert sorted(path.name for path in cache.iterdir()) == made
        assert environment.tasks("train")[0] == task
        panel = make_panel(environment.tasks("eval"), 20)
    with open_environment(settings(games_seed=1)) as other:
        assert make_panel(other.tasks("eval"), 20).sha256 != panel.sha256  # whatever their ids
    assert len(list(cache.iterdir())) > len(made)


def test_a_folder_alone_is_enough(tmp_path: Path, cache: Path) -> None:
    data = write_data(tmp_path / "data")
    with Reporter(json_mode=True) as reporter, open_environment(settings(data=str(data)), reporter) as environment:
        assert len(environment.tasks("train")) == len(environment.tasks("eval")) == 8
        environment.reset({0: environment.task("nq/2")})
        found = environment.step({0: "<search>PersonNq2</search>"})[0]
        assert "PersonNq2 was born in TownNq2." in found.observation.text
        assert environment.step({0: "<answer>townnq2</answer>"})[0].won
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_an_index_is_kept_by_the_content_of_the_corpus(tmp_path: Path) -> None:
    corpus = write_data(tmp_path / "data") / "corpus.jsonl"
    first = ensure_index(corpus)
    moved = corpus.rename(tmp_path / "corpus.jsonl")
    assert ensure_index(moved) == first
    moved.write_text(moved.read_text().replace("TownNq1", "TownNq9"))
    assert ensure_index(moved) != first


def test_an_index_with_rows_left_out_is_not_that_of_a_whole_corpus(tmp_path: Path) -> None:
    rows = [{"id": str(n), "contents": f'"T{n}"\nword{n}'} for n in range(200)]
    corpus = write_lines(tmp_path / "corpus.jsonl", [*rows, "{"])
    with pytest.raises(PrerequisiteError, match=r"corpus\.jsonl:201"):
        ensure_index(corpus)
    assert ensure_index(corpus, skip_bad=True).is_dir()
    with pytest.raises(PrerequisiteError, match=r"corpus\.jsonl:201"):
        ensure_index(corpus)


def test_runs_that_start_at_once_build_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = write_data(tmp_path / "data") / "corpus.jsonl"
    built: list[Path] = []
    build = sources.build_index

    def slowly(*args: Any, **more: Any) -> Any:
        built.append(args[1])
        time.sleep(0.3)
        return build(*args, **more)

    monkeypatch.setattr(sources, "build_index", slowly)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(ensure_index(corpus))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == len(built) == 1


def test_remembering_answers_can_be_turned_off(tmp_path: Path) -> None:
    data = str(write_data(tmp_path / "data"))
    for cache, answered in ((True, 1), (False, 2)):
        with open_environment(settings(data=data, cache=cache)) as environment:
            retriever: CachedRetriever = environment._retriever
            for _ in range(2):
                environment.reset({0: environment.task("nq/1"), 1: environment.task("nq/1")})
                environment.step({0: "<search>x</search>", 1: "<search>x</search>"})
            assert (retriever.asked, retriever.answered) == (4, answered)


def test_a_corpus_is_found_by_its_name(tmp_path: Path) -> None:
    assert find_corpus(tmp_path) is None
    (tmp_path / "wiki-18.jsonl.gz").touch()
    assert find_corpus(tmp_path) == tmp_path / "wiki-18.jsonl.gz"
    (tmp_path / "corpus.parquet").touch()
    assert find_corpus(tmp_path) == tmp_path / "corpus.parquet"
    assert find_corpus(tmp_path / "questions.jsonl") == tmp_path / "corpus.parquet"


def test_what_is_missing_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    (data / "corpus.jsonl").unlink()
    cases = {
        "no passages to search": {"data": str(data)},
        "no questions at": {"data": str(tmp_path / "absent")},
        "no passage index at": {"data": str(data), "retriever": str(tmp_path / "absent")},
        "needs questions": {"source": "real"},
    }
    for words, env in cases.items():
        with pytest.raises(PrerequisiteError, match=words):
            open_environment(settings(**env))
        config = RunConfig(env=settings(**env), skills={"bank": "search", "retrieval": "keyword"})  # type: ignore[arg-type]
        (item,) = missing(config)
        assert words in item.what and item.fix
    assert missing(RunConfig(env=settings(), skills={"bank": "search", "retrieval": "keyword"})) == []  # type: ignore[arg-type]


def test_a_server_that_does_not_answer_is_an_error_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit of a run (step_timeout) is for outages, not for the first request."""
    monkeypatch.setattr(sources, "FIRST_BUDGET", 0.2)
    data = write_data(tmp_path / "data")
    with pytest.raises(RetrieverUnavailableError, match=r"within 0\.2 s"):
        open_environment(settings(data=str(data), retriever="http://127.0.0.1:9", step_timeout=5.0))
