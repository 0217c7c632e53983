"""Episodes read back for building skills: of a run, of an evaluation, or demonstrations.

A line of JSON is one episode.  Understood are the lines of a run's ``episodes/``, those of its ``eval/``, and
demonstrations: ``{"task": id, "type": task type, "goal": text, "won": true or false, "actions": [text, ...]}``.
Token ids are not kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.files import parse_json, read_regular
from sdar_cli.envs.base import Act, Trace
from sdar_cli.runs.records import EpisodeRecord, TurnRecord, is_ledger_line


@dataclass(frozen=True)
class Traces:
    """Episodes, and the SHA-256 of every file they were read from.  ``broken``: those left out, because the environment
    failed or no turn was played."""

    episodes: tuple[Trace, ...]
    files: dict[str, str]
    broken: int


def read_traces(source: str | Path, runs_dir: Path = Path("runs")) -> Traces:
    """The episodes of a file, of a folder's ``*.jsonl`` files, or of a run (its directory, or its name under
    ``runs_dir``): what it trained on, else what it was evaluated on.

    Raises ConfigError where there is none, and for a line that is no episode.
    """
    episodes: list[Trace] = []
    files: dict[str, str] = {}
    broken = 0
    for name, path in _files(source, runs_dir):
        try:
            data = read_regular(path)
        except OSError as error:
            why = error.strerror or str(error)
            raise ConfigError(f"{path} cannot be read", why=why, fix="give a file of episodes") from error
        files[name] = hashlib.sha256(data).hexdigest()
        for number, line in enumerate(data.split(b"\n"), 1):
            if line.strip():
                record = _parsed(line, path, number)
                if is_ledger_line(record):
                    continue
                trace = _trace(record, name, number, path)
                if trace is None:
                    broken += 1
                else:
                    episodes.append(trace)
    if not episodes:
        raise ConfigError(f"{source} holds no episodes", why=f"read {', '.join(files)}", fix="sdar train")
    return Traces(tuple(episodes), files, broken)


def references(traces: Iterable[Trace]) -> tuple[str, ...]:
    """``file:1,4-6`` for every file, lines in order."""
    lines: dict[str, list[int]] = {}
    for trace in traces:
        lines.setdefault(trace.file, []).append(trace.line)
    return tuple(f"{file}:{_ranges(sorted(set(numbers)))}" for file, numbers in sorted(lines.items()))


def _ranges(numbers: Sequence[int]) -> str:
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def _files(source: str | Path, runs_dir: Path) -> list[tuple[str, Path]]:
    """(name, path) of the files to read; a name is relative to the folder above the run or folder."""
    path = next((p for p in (Path(source).expanduser(), runs_dir / source) if p.exists()), None)
    if path is None:
        raise ConfigError(
            f"nothing to build from at {source}",
            why=f"neither {source} nor {runs_dir / source} exists",
            fix="give a file of episodes, a folder of them, or a run (sdar runs list)",
        )
    if not path.is_dir():
        return [(path.name, path)]
    folders = [path / "episodes", path / "eval"] if (path / "config.json").is_file() else [path]
    for folder in folders:
        found = sorted(folder.absolute().glob("*.jsonl"))
        if found:
            return [(p.relative_to(path.absolute().parent).as_posix(), p) for p in found]
    raise ConfigError(
        f"{path} holds no episodes",
        why=f"no *.jsonl in {' or '.join(map(str, folders))}",
        fix="give a run that has trained or was evaluated, or a folder of *.jsonl files",
    )


def _parsed(line: bytes, path: Path, number: int) -> Mapping[str, Any]:
    try:
        record = parse_json(line)
    except ValueError as error:
        raise _bad(path, number, f"it is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise _bad(path, number, "it is no JSON object")
    return record


def _trace(record: Mapping[str, Any], name: str, number: int, path: Path) -> Trace | None:
    """None for an episode that the environment broke, or of which no turn was played."""
    try:
        if "actions" in record:
            acts = tuple(Act(action) for action in record["actions"])
            trace = Trace(name, number, record["task"], record["type"], record["goal"], record["won"], acts)
        else:
            episode = EpisodeRecord.from_json(record)
            if episode.failure or not episode.turns:
                return None
            trace = _of_episode(episode, name, number)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise _bad(path, number, f"a key or value is missing or wrong: {error}") from error
    texts = (trace.task, trace.type, trace.goal, *(act.action for act in trace.acts))
    if not isinstance(trace.won, bool) or not all(isinstance(text, str) for text in texts):
        raise _bad(path, number, "task, type, goal and actions are texts, and won is true or false")
    return trace


def _of_episode(episode: EpisodeRecord, name: str, number: int) -> Trace:
    first = episode.turns[0].detail
    acts = tuple(map(_act, episode.turns))
    env = first.view.env if first else ""
    return Trace(name, number, episode.task.id, episode.task.type, episode.goal, episode.won, acts, env)


def _act(turn: TurnRecord) -> Act:
    """An action that was not possible changed nothing."""
    if turn.detail is None:
        return Act(turn.action, turn.admissible, thought=turn.response)
    view = turn.detail.view
    return Act(turn.action, turn.admissible, view.observation, view.admissible, turn.response)


def _bad(path: Path, number: int, why: str) -> ConfigError:
    return ConfigError(
        f"{path}, line {number}: no episode",
        why=why,
        fix="lines are those of a run's episodes/ or eval/, or demonstrations with task, type, goal, won and actions",
    )
