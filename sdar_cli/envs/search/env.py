"""Search-QA as an ``Environment``: questions, searches of one retriever, answers judged at the end.

Episodes are in this process.  All searches of a step are one batch, in which the same query is asked once; with a
retriever on another machine, a batch is what came while the one before was searched for.  A task's id is
``DATA SET/ID``, of generated questions ``KIND/N``; its type is the data set or kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from sdar_cli.base.errors import ConfigError, PrerequisiteError
from sdar_cli.envs.base import Observation, Step, Task
from sdar_cli.envs.search.actions import LONGEST_QUERY, SEARCH, Action, read_action
from sdar_cli.envs.search.answers import exact_match, f1, last_answer
from sdar_cli.envs.search.data.questions import EVAL, Question, Questions, other_sources, stratified
from sdar_cli.envs.search.data.sources import check_retriever, load_data, retriever_of
from sdar_cli.envs.search.information import FORMATS, without_tags
from sdar_cli.envs.search.options import SearchOptions
from sdar_cli.envs.search.prompt import ADMISSIBLE
from sdar_cli.retrieval.passages import Passage, Retriever, RetrieverUnavailableError

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter

HINT = (
    "That could not be read as an action. To look something up, put a query between the search tags; to end with an "
    "answer, put it between the answer tags."
)
"""Shown after a missing action with ``env.invalid_hint = search_r1``.  It holds no tags, so none can be read in it."""
ALL = "all"


@dataclass
class _Episode:
    question: Question
    turns: int = 0
    history: list[str] = field(default_factory=list)
    """Actions and observations, in the order they came: what the released code scores."""
    over: bool = False


class SearchEnvironment:
    """Episodes of questions over one retriever.  Made by ``open_environment``."""

    def __init__(self, questions: Questions, retriever: Retriever, config: SearchOptions) -> None:
        self._questions = questions
        self._retriever = retriever
        self._config = config
        self._by_id = {q.id: (q, split) for split, part in questions.splits.items() for q in part}
        self._episodes: dict[int, _Episode] = {}
        self.waits = "://" in (config.retriever or "")
        """A step waits for the answer of a server."""

    def tasks(self, split: str) -> list[Task]:
        """The questions of a split, sorted by id: ``train``, ``eval``, or ``all``, both.

        Of ``eval`` and ``all`` at most ``env.questions_per_source`` of each data set, drawn with ``env.games_seed``.

        Raises ConfigError for an unknown split, PrerequisiteError for an empty one.
        """
        splits = self._questions.splits
        if split not in (*splits, ALL):
            known = ", ".join([*splits, ALL])
            raise ConfigError(f"Search-QA has no split {split!r}", why=f"the splits are {known}")
        how = self._config
        chosen = [q for part in splits.values() for q in part] if split == ALL else splits[split]
        if split in (EVAL, ALL):
            chosen = stratified(chosen, how.questions_per_source, how.games_seed)
        found = [Task(q.id, q.source, split, q.content) for q in chosen]
        if not found:
            raise PrerequisiteError(f"no question is in the split {split}", fix="give more question files with --data")
        return sorted(found, key=lambda task: task.id)

    def task(self, task_id: str) -> Task:
        """The task of an id.  Raises ConfigError where there is no such question."""
        question, split = self._find(task_id)
        return Task(question.id, question.source, split, question.content)

    def preflight(self, tasks: Sequence[Task]) -> None:
        """Ask some of the questions.  Raises PrerequisiteError when the retriever finds nothing for any of them."""
        step = max(1, len(tasks) // 8)
        asked = [self._find(task.id)[0].text for task in list(tasks)[::step][:8]]
        check_retriever(self._retriever, asked, self._config.top_k)

    def reset(self, assignment: Mapping[int, Task]) -> dict[int, Step]:
        """Start one episode per slot: the question, and nothing found yet."""
        out = {}
        for slot, task in assignment.items():
            question = self._find(task.id)[0]
            self._episodes[slot] = _Episode(question)
            seen = Observation("", question.text, ADMISSIBLE)
            out[slot] = Step(seen, 0.0, done=False, won=False, info={"question": question.text})
        return out

    def step(self, actions: Mapping[int, str]) -> dict[int, Step]:
        """Search or answer in active slots.  Raises ValueError for a slot that is over.

        Raises RetrieverUnavailableError when a search fails with ``env.on_error = end``.
        """
        idle = [slot for slot in actions if slot not in self._episodes or self._episodes[slot].over]
        if idle:
            raise ValueError(f"slots {idle} have no running episode")
        read = {slot: read_action(text) for slot, text in actions.items()}
        out: dict[int, Step] = {}
        searches: dict[int, str] = {}
        for slot, action in read.items():
            episode = self._episodes[slot]
            episode.turns += 1
            episode.history.append(actions[slot])
            if episode.turns >= self._config.max_turns or action.kind == "answer":
                out[slot] = self._end(episode, action)
            elif action.kind == SEARCH and action.content:
                searches[slot] = action.content[:LONGEST_QUERY]
            else:
                out[slot] = self._continue(episode, HINT if self._config.invalid_hint == "search_r1" else "")
        out |= self._search(searches)
        return {slot: out[slot] for slot in actions}

    def identity(self) -> dict[str, object]:
        """The retriever and the sha256 of its corpus (None where a server does not report it)."""
        info = self._retriever.info()
        return {"retriever": info, "corpus_sha256": info.get("corpus_sha256")}

    def close(self) -> None:
        """Forget the episodes and close the retriever."""
        self._episodes.clear()
        self._retriever.close()

    def __enter__(self) -> SearchEnvironment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _find(self, task_id: str) -> tuple[Question, str]:
        if task_id not in self._by_id:
            first = next(iter(self._by_id), "")
            raise ConfigError(f"no Search-QA task {task_id!r}", why="an id is DATA SET/ID", fix=f"--task {first}")
        return self._by_id[task_id]

    def _search(self, searches: Mapping[int, str]) -> dict[int, Step]:
        if not searches:
            return {}
        try:
            found = self._retriever.search(list(searches.values()), self._config.top_k)
        except RetrieverUnavailableError as error:
            if self._config.on_error == "end":
                raise
            return {slot: self._fail(self._episodes[slot], error) for slot in searches}
        return {
            slot: self._continue(self._episodes[slot], self._write(passages), query, passages)
            for (slot, query), passages in zip(searches.items(), found, strict=True)
        }

    def _write(self, passages: Sequence[Passage]) -> str:
        keep_tags = self._config.score_scope == "released"
        return FORMATS[self._config.information](passages, str if keep_tags else without_tags)

    def _continue(self, episode: _Episode, text: str, query: str = "", passages: Sequence[Passage] = ()) -> Step:
        episode.history.append(text)
        info: dict[str, object] = {"query": query} if query else {}
        if query:
            info["passages"] = [{"id": p.id, "title": p.title, "score": round(p.score, 4)} for p in passages]
        return Step(Observation(text, episode.question.text, ADMISSIBLE), 0.0, done=False, won=False, info=info)

    def _fail(self, episode: _Episode, error: RetrieverUnavailableError) -> Step:
        """The retriever's failure ends the episode; the user sees it, the model does not."""
        episode.over = True
        failure = f"{error.what}: {error.why}" if error.why else error.what
        return Step(Observation("", episode.question.text, ()), 0.0, done=True, won=False, failure=failure)

    def _end(self, episode: _Episode, action: Action) -> Step:
        """Judge an episode whose last action has been taken; a search that comes last is not executed."""
        episode.over = True
        answer = action.content if action.kind == "answer" else ""
        if self._config.score_scope == "released":
            answer = last_answer("".join(episode.history))
        question = episode.question
        won, overlap = exact_match(answer, question.answers), f1(answer, question.answers)
        info = {"answer": answer, "targets": list(question.answers), "exact_match": won, "f1": overlap}
        return Step(
            Observation("", question.text, ()),
            float(won),
            done=True,
            won=won,
            score=overlap,
            out_of_turns=action.kind != "answer",
            info=info,
        )


def open_environment(config: SearchOptions, reporter: Reporter | None = None) -> SearchEnvironment:
    """Questions and retriever of a configuration (``sources``); ``reporter`` shows notices about the questions.

    Raises PrerequisiteError where data or retriever are missing, RetrieverUnavailableError where no server answers.
    """
    data = load_data(config)
    if config.data and (others := other_sources(data.questions)):
        data.questions.notices.append(f"data sets besides the seven of the paper: {', '.join(others)}")
    if reporter:
        for notice in data.questions.notices:
            reporter.info(notice)
    return SearchEnvironment(data.questions, retriever_of(config, data, reporter), config)
