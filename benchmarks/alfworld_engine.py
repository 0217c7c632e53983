"""Speed of the ALFWorld engine: textworld as it comes against textworld after ``speed_up()``.

    python benchmarks/alfworld_engine.py [--data DIR] [--split SPLIT] [--games N] [--smallest]

Each way runs in a fresh process, on the same games with the same commands, measured in CPU time.  The
transcripts must be equal (SHA-256), and steps must be at least ten times as fast; otherwise it exits 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TARGET = 10.0
SMALLEST = {"games": 1, "data": None}
WAYS = ("stock", "fast")


def measure(way: str, files: list[str]) -> dict[str, Any]:
    """CPU seconds of each kind of work in this process, and a digest of everything the engine answered."""
    from sdar_cli.envs.alfworld.engine.engine import GameEngine, speed_up

    if way == "fast" and not speed_up():
        raise SystemExit("this textworld is not the one the faster path was made for")
    spent = {"engine": 0.0, "load": 0.0, "reset": 0.0, "step": 0.0}
    steps = 0
    answers = hashlib.sha256()

    def timed(kind: str, work: Any, *arguments: Any) -> Any:
        began = time.process_time()
        answer = work(*arguments)
        spent[kind] += time.process_time() - began
        answers.update(repr((arguments if kind == "step" else "", answer if kind != "engine" else "")).encode())
        return answer

    GameEngine()  # the imports are no part of the measurement
    engine = timed("engine", GameEngine)
    for file in files:
        timed("load", engine.load, file)
        timed("reset", engine.reset)
        for command in json.loads(Path(file).read_text())["walkthrough"]:
            for action in ("look", "inventory", command):
                timed("step", engine.step, action)
                steps += 1
        timed("reset", engine.reset)
    return {
        "steps_per_cpu_s": steps / spent["step"],
        "load_ms": 1000 * spent["load"] / len(files),
        "reset_ms": 1000 * spent["reset"] / (2 * len(files)),
        "new_engine_ms": 1000 * spent["engine"],
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "steps": steps,
        "sha256": answers.hexdigest(),
    }


def in_fresh_process(way: str, files: list[Path]) -> dict[str, Any]:
    """``measure`` in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", way, *map(str, files)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def choose(data: str | None, split: str, count: int, scratch: Path) -> list[Path]:
    """Every n-th game of a split, so that all task types take part; generated full-size games without ``data``."""
    from sdar_cli.envs.alfworld.games import games
    from sdar_cli.envs.alfworld.games.generator import make_games

    if data is None:
        return make_games(split, count, 0, "full", scratch)
    root = games.find_root(data)
    tasks = games.list_tasks(root, split)
    return [games.game_file(root, task) for task in tasks[:: max(1, len(tasks) // count)][:count]]


def machine() -> str:
    """Processor, cores, Python and the engine's version."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}, textworld 1.7.0"


def report(files: list[Path], found: dict[str, dict[str, Any]]) -> bool:
    """Print the table; whether the transcripts are equal and the target is met."""
    stock, fast = found["stock"], found["fast"]
    print(f"{machine()}\n{len(files)} games, {fast['steps']} steps each way, CPU time\n")
    print(f"{'':<22}{'stock':>10}{'fast':>10}{'ratio':>9}")
    for key, better in (
        ("steps_per_cpu_s", 1),
        ("load_ms", -1),
        ("reset_ms", -1),
        ("new_engine_ms", -1),
        ("memory_mb", -1),
    ):
        ratio = (fast[key] / stock[key]) ** better
        print(f"{key:<22}{stock[key]:>10.1f}{fast[key]:>10.1f}{ratio:>8.1f}x")
    equal = stock["sha256"] == fast["sha256"]
    enough = fast["steps_per_cpu_s"] >= TARGET * stock["steps_per_cpu_s"]
    print(f"\ntranscripts {'equal' if equal else 'DIFFER'}, {fast['sha256'][:16]}")
    print(f"steps at least {TARGET:g}x: {'yes' if enough else 'NO'}")
    return equal and enough


def main() -> None:
    """Measure both ways and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of the released games; default: generated games")
    parser.add_argument("--split", default="train")
    parser.add_argument("--games", type=int, default=6)
    parser.add_argument("--smallest", action="store_true", help="one generated game: to see that it runs")
    parser.add_argument("--measure", nargs="+", metavar=("WAY", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.smallest:
        vars(given).update(SMALLEST)
    if given.measure:
        print(json.dumps(measure(given.measure[0], given.measure[1:])))
        return
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as scratch:
        files = choose(given.data, given.split, given.games, Path(scratch))
        found = {way: in_fresh_process(way, files) for way in WAYS}
    sys.exit(0 if report(files, found) else 1)


if __name__ == "__main__":
    main()
