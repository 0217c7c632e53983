"""Playing games with the engine in this process: used by tests, and as a script in a process of its own.

    python alfworld_material.py fast|stock FILE...

prints the SHA-256 of everything the engine answered while each game was explored and then won.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from sdar_cli.envs.alfworld.engine.engine import GameEngine, speed_up


def answer_of(observation: str, reward: float, done: bool, won: bool, admissible: Any) -> list[Any]:
    """One answer in a form that can be compared and written."""
    return [observation, reward, done, won, sorted(set(admissible))]


def explore(engine: GameEngine, path: Path, limit: int = 12) -> list[list[Any]]:
    """Play a game to its end, trying other commands on the way: its answers at every step."""
    engine.load(path)
    observation, admissible, won = engine.reset()
    answers = [answer_of(observation, 0.0, won, won, admissible)]
    tried = set()
    for command in json.loads(path.read_text())["walkthrough"]:
        asides = [a for a in admissible if a.startswith(("examine", "look", "inventory", "help", "close", "open"))]
        asides = [a for a in asides if (a, observation) not in tried][:2] if len(tried) < limit else []
        for aside in [*asides, "dance"]:
            tried.add((aside, observation))
            answer = engine.step(aside)
            answers.append(answer_of(*answer))
            if aside.startswith(("open", "close")):
                undo = aside.replace("open", "close") if aside.startswith("open") else aside.replace("close", "open")
                answers.append(answer_of(*engine.step(undo)))
        observation, reward, done, won, admissible = engine.step(command)
        answers.append(answer_of(observation, reward, done, won, admissible))
    return answers


def main(how: str, *files: str) -> None:
    """Print one digest for all files."""
    if how == "fast":
        assert speed_up()
    engine = GameEngine()
    answers = [explore(engine, Path(file)) for file in files]
    assert all(game[-1][3] for game in answers), "a walkthrough did not win"
    print(sum(map(len, answers)), hashlib.sha256(json.dumps(answers).encode()).hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
