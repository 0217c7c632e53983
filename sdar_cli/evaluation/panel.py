"""Playing the panel of an open session: in every setting, with a table on the terminal and files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sdar_cli.base.files import write_json_atomic
from sdar_cli.evaluation.ledger import Ledger
from sdar_cli.evaluation.play import evaluate, refuse_broken
from sdar_cli.evaluation.render import table
from sdar_cli.evaluation.setting import Setting, settings_for
from sdar_cli.runs.records import EpisodeRecord
from sdar_cli.runs.results import EvaluationReport

if TYPE_CHECKING:
    from sdar_cli.runs.rundir import RunDir
    from sdar_cli.session import Session


def evaluate_panel(session: Session, run: RunDir | None, name: str, title: str) -> EvaluationReport:
    """Evaluate as configured and show the table; with a run, write ``eval/<name>.json`` and its episodes."""
    shown = [False, True] if session.config.eval.with_skill else [False]
    cfg = session.config.eval
    settings = settings_for([cfg.decoding], shown, cfg.temperature, cfg.seeds)
    report, episodes = play_panel(session, title, settings)
    if run is not None:
        run.eval.mkdir(exist_ok=True)
        (run.eval / f"{name}.jsonl").write_text(dump_episodes(episodes), encoding="utf-8")
        write_json_atomic(run.eval / f"{name}.json", report.to_json())
    return report


def dump_episodes(episodes: Sequence[Sequence[EpisodeRecord]]) -> str:
    """JSON lines: the episodes of each result."""
    return "".join(
        json.dumps(episode.to_json(), ensure_ascii=False) + "\n" for played in episodes for episode in played
    )


def play_panel(
    session: Session, title: str, settings: Sequence[Setting], ledger: Ledger | None = None
) -> tuple[EvaluationReport, list[list[EpisodeRecord]]]:
    """Play the panel in every setting and show the table: (report, episodes of each of its results)."""
    if any(setting.with_skill for setting in settings):
        _report_untried(session)
    results, episodes = [], []
    for setting in settings:
        total = len(session.panel.tasks) * len(setting.seeds)
        with session.reporter.progress(f"{title}: {setting.label}", total) as bar:
            result, played = evaluate(session.collector, session.panel, setting, session.skill_for, bar.advance, ledger)
        _report_broken(session, played)
        results.append(result)
        episodes.append(played)
    session.reporter.table(
        f"{title} ({len(session.panel.tasks)} tasks, panel {session.panel.sha256[:12]})", *table(results)
    )
    return EvaluationReport(title, results[0].panel, tuple(results)), episodes


def _report_untried(session: Session) -> None:
    """Evaluation under ucb shows the best skill so far; without rewards there is none."""
    untried = {task.type for task in session.panel.tasks} - set(session.retriever.bandit.arms)
    if session.config.skills.retrieval == "ucb" and untried:
        shown = min(skill.id for skill in session.bank.skills)
        session.reporter.info(f"ucb has no rewards of {', '.join(sorted(untried))}: {shown} is shown (first by id)")


def _report_broken(session: Session, played: Sequence[EpisodeRecord]) -> None:
    if broken := refuse_broken(played, session.config.env.max_failed):
        first = next(e.failure for e in played if e.failure)
        session.reporter.warn(f"{broken} of {len(played)} episodes failed and count as lost, the first: {first}")
