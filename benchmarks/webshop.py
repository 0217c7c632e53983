"""Speed and memory of the WebShop engine on a synthetic catalogue, with a random shopper on one core.

    python benchmarks/webshop.py [--products N] [--episodes N] [--seed S] [--smallest]

Every row is measured in a process of its own with an empty cache folder: cold makes store and index, warm finds
them.  The shopper searches for runs of the instruction's words and clicks at random, purchases included, for at most
15 steps; 8 episodes per goal, as in a group.  Steps are counted with the list of what can be clicked, and with the
query cache cleared before every episode (``cleared``) or kept (``kept``).

From 20,000 products on, build times and queries are also extrapolated linearly to the original's 1.18 million
products: an estimate, not a measurement.  The original's figures are quoted, not measured here: another machine.
On a busy machine read the figures per CPU second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ORIGINAL = """The original (princeton-nlp/WebShop at 64fa2a5, 1,000 products), quoted from measurements elsewhere:
  13 to 23 steps/s (44 to 76 ms a step, with get_available_actions, on loaded cores), imports 5 s, start 1.8 to 4.0 s,
  memory 280 MB at start, 550 MB after about 1,000 steps; full catalogue 11 to 15 GB per process (estimate)"""
FULL = 1_180_000
EXTRAPOLATED_FROM = 20_000
TURNS = 15
GROUP = 8
QUERIES = 300
MB = 1 << 20
SMALLEST = {"products": 60, "episodes": 16}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds on the wall, and what came of it."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def size(path: Path) -> float:
    """MB of a file, or of the files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / MB


def memory(how: str) -> float:
    """MB: VmHWM is the most this process has held, RssAnon what it shares with no other now."""
    lines = Path("/proc/self/status").read_text().splitlines() if Path("/proc/self/status").exists() else []
    found = [int(line.split()[1]) / 1024 for line in lines if line.startswith(how)]
    return found[0] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_make(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Write the catalogue."""
    from sdar_cli.envs.webshop.catalogue.synth import make_catalogue

    seconds, _ = timed(lambda: make_catalogue(folder, given.products, given.seed))
    return {"seconds": seconds, "files_mb": size(folder), "peak_mb": memory("VmHWM")}


def run_start(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Everything an environment needs: imports, store, index, goals of people, nouns."""
    seconds: dict[str, float] = {}
    seconds["imports"], parts = timed(_imports)
    open_catalog, open_index, load_goals, open_nouns = parts
    seconds["store"], catalog = timed(lambda: open_catalog(folder))
    seconds["index"], index = timed(lambda: open_index(catalog))
    seconds["goals"], goals = timed(lambda: load_goals(catalog, "human"))
    seconds["nouns"], _ = timed(lambda: open_nouns(folder))
    return {
        "seconds": seconds,
        "cpu_s": time.process_time(),
        "goals": len(goals),
        "terms": index.manifest["tokens"] / index.documents,
        "store_mb": size(catalog.store),
        "index_mb": size(index.folder),
        "peak_mb": memory("VmHWM"),
    }


def _imports() -> tuple[Any, ...]:
    from sdar_cli.envs.webshop.catalogue.catalog import open_catalog
    from sdar_cli.envs.webshop.catalogue.nouns import open_nouns
    from sdar_cli.envs.webshop.env import open_index
    from sdar_cli.envs.webshop.store.goals import load_goals

    return open_catalog, open_index, load_goals, open_nouns


def run_play(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Episodes with the query cache cleared and kept, the same ones, and queries without a cache."""
    from sdar_cli.envs.webshop.store.shop import Shop

    open_catalog, open_index, load_goals, open_nouns = _imports()
    catalog = open_catalog(folder)
    goals, index = load_goals(catalog, "human"), open_index(catalog)
    shop = Shop(catalog, goals, index, open_nouns(folder))

    def forget() -> None:
        shop._ranked.cache_clear()
        index._hits.cache_clear()

    play(shop, min(given.episodes, 100), given.seed + 1)  # products and item pages come into their caches
    forget()
    found: dict[str, Any] = {"play": {}}
    for way in ("cleared", "kept"):
        found["play"][way] = play(shop, given.episodes, given.seed, forget if way == "cleared" else lambda: None)
        hits = shop._ranked.cache_info()
        found["play"][way]["cached_queries"] = hits.hits / max(1, hits.hits + hits.misses) if way == "kept" else None
        forget()
    found |= {"peak_mb": memory("VmHWM"), "own_mb": memory("RssAnon")}
    rng = random.Random(given.seed)
    numbers = [rng.randrange(len(goals)) for _ in range(QUERIES)]
    spent = []
    for text in {goals[number].instruction for number in numbers}:
        began = time.process_time()
        index.search(text)
        spent.append(time.process_time() - began)
    spent.sort()
    found["query_ms"] = [1000 * statistics.median(spent), 1000 * spent[int(0.95 * len(spent))]]
    return found


def play(shop: Any, episodes: int, seed: int, before: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Random episodes, ``GROUP`` of a goal one after the other; the shopper's own time is part of it."""
    rng = random.Random(seed)
    steps = bought = won = 0
    began, busy = time.perf_counter(), time.process_time()
    for number in range(episodes):
        if number % GROUP == 0:
            goal = rng.randrange(len(shop.goals))
        before()
        session = shop.start(goal)
        words = session.goal.instruction.split()
        for _ in range(TURNS):
            turn = session.step(choose(session.clickables, session.has_search_bar, words, rng))
            steps += 1
            if turn.done:
                bought += 1
                won += turn.reward == 1.0
                break
    wall, cpu = time.perf_counter() - began, time.process_time() - busy
    return {"steps": steps, "per_s": steps / wall, "per_cpu_s": steps / cpu, "bought": bought, "won": won}


def choose(clickables: list[str], has_search_bar: bool, words: list[str], rng: random.Random) -> str:
    """A search for two to five consecutive words of the instruction, or a click on anything."""
    if has_search_bar:
        length = rng.randint(2, 5)
        start = rng.randrange(max(1, len(words) - length))
        return f"search[{' '.join(words[start : start + length])}]"
    return f"click[{rng.choice(clickables)}]"


RUNS = {"make": run_make, "start": run_start, "play": run_play}


def in_fresh_process(what: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """One of ``RUNS`` in a process of its own; the cache folder is next to the catalogue."""
    words = [sys.executable, __file__, "--run", what, "--folder", str(folder)]
    words += [f"--{name}={getattr(given, name)}" for name in ("products", "episodes", "seed")]
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "SDAR_CACHE": str(folder.parent / "cache")}
    done = subprocess.run(words, env=os.environ | own, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def machine() -> str:
    """Processor, cores, load and Python."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    model = names[0].partition(":")[2].strip() if names else platform.machine()
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"


def report(given: argparse.Namespace, found: dict[str, dict[str, Any]]) -> None:
    """Print what was measured."""
    make, cold, warm, play = (found[name] for name in ("make", "cold", "warm", "play"))
    print(f"{machine()}\n{given.products:,} synthetic products, {cold['goals']:,} human goals\n")
    print(
        f"catalogue written       {make['seconds']:8.1f} s   {make['files_mb']:.1f} MB, peak {make['peak_mb']:.0f} MB"
    )
    for name, run in (("cold", cold), ("warm", warm)):
        parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in run["seconds"].items())
        used = f"CPU {run['cpu_s']:.2f} s, peak {run['peak_mb']:.0f} MB"
        print(f"start, {name}             {sum(run['seconds'].values()):8.2f} s   ({parts}), {used}")
    print(f"on disk                 {cold['store_mb']:8.1f} MB  store, {cold['index_mb']:.1f} MB index")
    for way, run in play["play"].items():
        cached = "" if run["cached_queries"] is None else f", {run['cached_queries']:.0%} of queries from the cache"
        counts = f"{run['steps']:,} steps, {run['bought']:,} purchases{cached}"
        per_cpu = f"{run['per_cpu_s']:,.0f} per CPU second"
        print(f"steps/s, {way:<8}       {run['per_s']:8,.0f}     ({per_cpu}; {counts})")
    median, slow = play["query_ms"]
    print(f"query, no cache         {median:8.2f} ms  median, {slow:.2f} ms 95th percentile, CPU time")
    print(f"memory after playing    {play['peak_mb']:8.0f} MB  peak, of which {play['own_mb']:.0f} MB not shared")
    print(f"\n{ORIGINAL}")
    if given.products >= EXTRAPOLATED_FROM:
        extrapolate(given.products, cold, play)


def extrapolate(products: int, cold: dict[str, Any], play: dict[str, Any]) -> None:
    """Print estimates for the full catalogue."""
    more = FULL / products
    print(f"\nESTIMATE for {FULL:,} products: the above times {more:.1f}, not measured.")
    print(f"Synthetic products have {cold['terms']:.0f} terms each; real ones have about 110 different ones, so the")
    print("index, its building and queries will be larger or slower by up to that ratio, and the store by more text.")
    print(f"store made              {cold['seconds']['store'] * more / 60:8.1f} min {cold['store_mb'] * more:,.0f} MB")
    print(f"index made              {cold['seconds']['index'] * more / 60:8.1f} min {cold['index_mb'] * more:,.0f} MB")
    print(f"query, no cache         {play['query_ms'][0] * more:8.1f} ms  median")


def main() -> None:
    """Make, start twice, play, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=1000)
    parser.add_argument("--episodes", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smallest", action="store_true", help="few products and episodes: to see that it runs")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.smallest:
        vars(given).update(SMALLEST)
    if given.run:
        print(json.dumps(RUNS[given.run](given.folder, given)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "shop"
        runs = {"make": "make", "cold": "start", "warm": "start", "play": "play"}
        report(given, {name: in_fresh_process(run, folder, given) for name, run in runs.items()})


if __name__ == "__main__":
    main()
