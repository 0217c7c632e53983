"""Evaluation on a fixed panel: success per task type with intervals, with and without skills, over seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sdar_cli.base import distributed
from sdar_cli.base.seeds import seed_of
from sdar_cli.envs.base import Task, group_by_type
from sdar_cli.envs.panels import Panel
from sdar_cli.evaluation.ledger import Ledger
from sdar_cli.models.engine import Sampling
from sdar_cli.rollout.collect import Collector, SkillFor, check_failures, no_skill
from sdar_cli.rollout.episode import Episode
from sdar_cli.stats import mean_sd, paired, wilson

CHUNK = 256
"""Episodes played side by side."""


@dataclass(frozen=True)
class Setting:
    """One way of playing the panel: ``decoding`` is ``sampled`` or ``greedy``."""

    with_skill: bool
    decoding: str
    temperature: float
    seeds: tuple[int, ...]

    @property
    def label(self) -> str:
        """For example ``no skill, sampled T=0.4``."""
        skill = "with skill" if self.with_skill else "no skill"
        return f"{skill}, greedy" if self.decoding == "greedy" else f"{skill}, sampled T={self.temperature:g}"


def settings_for(decodings: Sequence[str], skills: Sequence[bool], temperature: float, seeds: int) -> list[Setting]:
    """Every combination.  Greedy decoding draws nothing, so it is played once whatever ``seeds``."""
    return [
        Setting(with_skill, decoding, temperature, tuple(range(1 if decoding == "greedy" else seeds)))
        for decoding in decodings
        for with_skill in skills
    ]


def evaluate(
    collector: Collector,
    panel: Panel,
    setting: Setting,
    skill_for: SkillFor,
    progress: Callable[[int], None] | None = None,
    ledger: Ledger | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(result, episodes): each task of the panel once per seed.

    The sampling seed depends on the evaluation's seed only, never on the training run's, so that runs are compared on
    the same draws (those of as many processes).  ``progress`` is told of every finished episode (by number).
    ledger: chunks that it holds are not played again, others are added.
    """
    episodes: list[dict[str, Any]] = []
    cut = 0
    tell = progress or (lambda number: None)
    for seed in setting.seeds:
        for start, tasks in _chunks(panel.tasks):
            chunk = (setting.label, seed, start)
            played = ledger.played(chunk) if ledger else None
            if played is None:
                played = _play(collector, setting, seed, start, tasks, skill_for, tell)
                if ledger:
                    refuse_broken(played[0], collector.config.env.max_failed)
                    ledger.add(chunk, *played)
            else:
                tell(len(tasks))
            episodes += played[0]
            cut += played[1]
    tagger = getattr(collector.environment, "tagger_id", None)
    return summarise(panel, setting, episodes, cut, tagger), episodes


def _play(
    collector: Collector,
    setting: Setting,
    seed: int,
    start: int,
    tasks: Sequence[Task],
    skill_for: SkillFor,
    progress: Callable[[int], None],
) -> tuple[list[dict[str, Any]], int]:
    """The episodes of one chunk and the number of their cut prompts."""
    sampling = Sampling(collector.config.model.max_response_tokens, setting.temperature, setting.decoding == "greedy")
    done = 0

    def tell(finished: int) -> None:
        nonlocal done
        progress(finished - done)
        done = finished

    out = collector.collect(
        [(task, i) for i, task in enumerate(distributed.local_part(tasks))],
        sampling,
        seed_of("evaluate", seed, start, *distributed.rank_seed()),
        skill_for if setting.with_skill else no_skill,
        tell,
    )
    played = distributed.gather(([summary_of(e) for e in out.episodes], out.cut_prompts))
    tell(len(tasks))
    episodes = [{"seed": seed, **summary} for summary in distributed.interleave([part[0] for part in played])]
    return episodes, sum(part[1] for part in played)


def refuse_broken(episodes: Sequence[dict[str, Any]], max_failed: float) -> int:
    """The number of failed episodes.  A broken environment must not look like a policy that fails: raises
    RunFailedError where all failed or more than ``max_failed`` of them."""
    failures = [e["failure"] for e in episodes if e["failure"] is not None]
    check_failures(failures, len(episodes), max_failed, "an evaluation")
    return len(failures)


def _chunks(tasks: Sequence[Any]) -> Iterator[tuple[int, Sequence[Any]]]:
    for start in range(0, len(tasks), CHUNK):
        yield start, tasks[start : start + CHUNK]


def summary_of(episode: Episode) -> dict[str, Any]:
    """What an evaluation keeps of an episode: its outcome and its text, not its token ids."""
    return {
        "task": episode.task.id,
        "type": episode.task.type,
        "goal": episode.turns[0].view.goal if episode.turns else "",
        "won": episode.won,
        "score": episode.score,
        "reward_parts": episode.reward_parts,
        "stop": episode.stop.value if episode.stop else None,
        "failure": episode.failure,
        "turns": [{"response": t.response, "action": t.action, "valid": t.valid} for t in episode.turns],
    }


def summarise(
    panel: Panel, setting: Setting, episodes: list[dict[str, Any]], cut: int, tagger: str | None = None
) -> dict[str, Any]:
    """Success overall and per type.  Failed episodes count as lost and are also counted apart.

    tagger: what the scores depend on, in an environment that has one (WebShop).
    """
    scored = tagger is not None or any(e.get("score") is not None for e in episodes)
    types = {name: {t.id for t in tasks} for name, tasks in group_by_type(panel.tasks).items()}
    rows = {name: _rate([e for e in episodes if e["task"] in ids], scored) for name, ids in types.items()}
    per_seed = [_rate([e for e in episodes if e["seed"] == seed])["success"] for seed in setting.seeds]
    mean, sd = mean_sd(per_seed)
    turns = [turn for e in episodes for turn in e["turns"]]
    return {
        "label": setting.label,
        "with_skill": setting.with_skill,
        "decoding": setting.decoding,
        "temperature": None if setting.decoding == "greedy" else setting.temperature,
        "seeds": list(setting.seeds),
        "panel": {"split": panel.split, "tasks": len(panel.tasks), "sha256": panel.sha256},
        "overall": _rate(episodes, scored),
        "per_seed": per_seed,
        "mean": mean,
        "sd_over_sampling_seeds": sd,
        "types": rows,
        "means": means_over_sources(rows, _rate(episodes)),
        "mean_turns": sum(len(e["turns"]) for e in episodes) / max(1, len(episodes)),
        "invalid_ratio": sum(not t["valid"] for t in turns) / max(1, len(turns)),
        "failed": sum(e["failure"] is not None for e in episodes),
        "cut_prompts": cut,
        **({"tagger": tagger} if tagger else {}),
        "interval": "Wilson 95 %, sampling error of tasks only",
    }


def means_over_sources(types: dict[str, dict[str, Any]], overall: dict[str, Any]) -> dict[str, float] | None:
    """Success over Search-QA's data sets; None for other types.

    Macro is the mean of the data sets' rates, which is the paper's figure; micro that of all episodes.  Bamboogle is
    125 questions and moves the macro mean as much as any other.
    """
    from sdar_cli.envs.search.data.questions import SOURCES

    rates = {name: rate["success"] for name, rate in types.items()}
    if not set(rates) <= set(SOURCES):
        return None
    means = {"macro mean": sum(rates.values()) / len(rates), "micro mean": overall["success"]}
    rest = [rate for name, rate in rates.items() if name != "bamboogle"]
    if 0 < len(rest) < len(rates):
        means["macro mean without bamboogle"] = sum(rest) / len(rest)
    return means


def _rate(episodes: Sequence[dict[str, Any]], scored: bool = False) -> dict[str, Any]:
    """scored: the benchmark has a score; an episode that has none, such as one without a purchase, scores 0."""
    won = sum(e["won"] for e in episodes)
    tasks = len({e["task"] for e in episodes})  # seeds repeat tasks: they are no new draws of the task population
    low, high = wilson(won * tasks / max(1, len(episodes)), tasks)
    rate = {"won": won, "of": len(episodes), "success": won / max(1, len(episodes)), "low": low, "high": high}
    if scored:
        rate["score"] = sum(e["score"] or 0.0 for e in episodes) / max(1, len(episodes))
    return rate


def table(results: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """(columns, rows) of a success table: a row per task type and one for all."""
    columns = ["task type", *(r["label"] for r in results)]
    rows = [[name, *(_cell(r["types"][name]) for r in results)] for name in results[0]["types"]]
    rows.append(["all", *(_cell(r["overall"]) for r in results)])
    for name in results[0].get("means") or {}:
        rows.append([name, *(f"{100 * r['means'][name]:.1f} %" for r in results)])
    if any(len(r["seeds"]) > 1 for r in results):
        rows.append(["mean ± sd over seeds", *(_spread(r) for r in results)])
    return columns, rows


def _cell(rate: dict[str, Any]) -> str:
    low, high = 100 * rate["low"], 100 * rate["high"]
    score = f", score {rate['score']:.3f}" if "score" in rate else ""
    return f"{100 * rate['success']:.1f} % [{low:.0f}, {high:.0f}] ({rate['won']}/{rate['of']}){score}"


def _spread(result: dict[str, Any]) -> str:
    if len(result["seeds"]) == 1:
        return "one seed"
    return f"{100 * result['mean']:.1f} ± {100 * result['sd_over_sampling_seeds']:.1f}"


def benchmark_table(reports: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str | None]]]:
    """(columns, rows) of several benchmarks in one table; a setting that one was not played in is None there."""
    labels = list(dict.fromkeys(result["label"] for report in reports for result in report["results"]))
    rows: list[list[str | None]] = []
    for report in reports:
        columns, own = table(report["results"])
        place = [columns.index(label) if label in columns else None for label in labels]
        rows += [[report["benchmark"], row[0], *(None if i is None else row[i] for i in place)] for row in own]
    return ["benchmark", "task type", *labels], rows


def internalisation(
    results: Sequence[dict[str, Any]], episodes: Sequence[Sequence[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """How much of the success with skills is there without them, per way of decoding played in both ways.

    episodes: those of each result.  ``gain``: what showing the skill adds, paired by task.
    """
    found = []
    for without, played in zip(results, episodes, strict=True):
        for shown, played_shown in zip(results, episodes, strict=True):
            alike = all(without[key] == shown[key] for key in ("decoding", "temperature", "seeds"))
            if alike and shown["with_skill"] and not without["with_skill"]:
                gain = paired(_wins(played), _wins(played_shown), len(without["seeds"]))
                rates = (without["overall"]["success"], shown["overall"]["success"])
                share = rates[0] / rates[1] if rates[1] else None
                found.append(
                    {"decoding": without["label"].partition(", ")[2], "without": rates[0], "with": rates[1]}
                    | {"share": share, "gain": asdict(gain)}
                )
    return found


def _wins(episodes: Sequence[dict[str, Any]]) -> list[int]:
    """Wins of each task, tasks sorted."""
    wins: dict[str, int] = {}
    for episode in episodes:
        wins[episode["task"]] = wins.get(episode["task"], 0) + episode["won"]
    return [count for _, count in sorted(wins.items())]


def internalisation_line(found: dict[str, Any]) -> str:
    """For example ``without skills 47.0 %, with them 48.5 % (97 % internalised); the skill adds +1.5 points …``."""
    gain = found["gain"]
    share = "" if found["share"] is None else f" ({100 * found['share']:.0f} % is there without)"
    return (
        f"internalised ({found['decoding']}): without skills {100 * found['without']:.1f} %, with them "
        f"{100 * found['with']:.1f} %{share}; showing the skill adds {100 * gain['estimate']:+.1f} points "
        f"[{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}], exact p {gain['p']:.3f}"
    )


def dump_episodes(results: Sequence[dict[str, Any]], episodes: Sequence[Sequence[dict[str, Any]]]) -> str:
    """JSON lines: the episodes of each result with its label."""
    rows = [{"label": r["label"], **episode} for r, played in zip(results, episodes, strict=True) for episode in played]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
