"""The sections of a report: held-out success, training, the teacher's signal, settings, the paper's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sdar_cli.analysis.compare.arms import Arm
from sdar_cli.analysis.compare.comparison import Comparison
from sdar_cli.analysis.compare.notes import setting_differences
from sdar_cli.analysis.compare.render import difference_tables, power_lines, value_tables
from sdar_cli.analysis.report.charts import Interval, Series, interval_chart
from sdar_cli.analysis.report.content import Chart, Section, Table, curve, share, span
from sdar_cli.analysis.report.series import evaluations, metrics_of, panel_series, training_series, turn_series
from sdar_cli.analysis.sweeps.records import SweepResults
from sdar_cli.analysis.sweeps.results import point_table, remarks
from sdar_cli.config.presets import list_presets, load_preset, paper_columns
from sdar_cli.evaluation.render import metrics_of as further_metrics
from sdar_cli.runs.records import read_episodes
from sdar_cli.runs.results import EvaluationResult, MetricLabel, Rate
from sdar_cli.runs.rundir import RunDir
from sdar_cli.stats import t_interval

SKILLS = ((False, "without skill"), (True, "with skill"))
SEEDS_BAND = "Band: 95 % t interval of the mean over seeds."
TASKS_BAND = "Band: 95 % Wilson interval, the sampling error of the tasks only."
TRAINING = (
    ("success", "Success of training episodes", "share won", True),
    ("reward", "Reward", "mean reward", False),
    ("mixed_group_ratio", "Groups with different rewards", "share of groups", True),
    ("entropy", "Entropy of the policy", "nats per token", False),
    ("clip_ratio", "Clipped tokens", "share of tokens", True),
    ("kl", "KL to the initial model", "nats per token (k3)", False),
    ("invalid_ratio", "Invalid actions", "share of turns", True),
    ("turns", "Length of episodes", "turns", False),
)
SIGNAL = (
    ("gap_mean", "Mean gap", "teacher - student, nats", False),
    ("gate_mean", "Mean gate", "gate", False),
    ("gate_active_ratio", "Gate activation (gate above 1/2)", "share of tokens", True),
    ("gate_active_ratio_at_threshold", "Tokens endorsed by more than 0.02 nats", "share of tokens", True),
    ("negative_gap_ratio", "Tokens with a negative gap", "share of tokens", True),
    ("distill_loss", "Distillation loss before its coefficient", "loss", False),
    ("teacher/skill_present", "Teacher prompts that hold a skill", "share of prompts", True),
)


def held_out(arms: Sequence[Arm]) -> Section:
    """Success on the fixed panel without and with the skill: curves, the end of each arm, and per task type."""
    charts: list[Chart | None] = []
    if len(arms) == 1:
        note = TASKS_BAND if len(arms[0].runs) == 1 else SEEDS_BAND
        lines = [panel_series(arms[0], with_skill, label) for with_skill, label in SKILLS]
        charts.append(curve("Success on the held-out panel", lines, y="success", note=note, percent=True))
    else:
        for with_skill, label in SKILLS:
            lines = [panel_series(arm, with_skill, arm.label) for arm in arms]
            charts.append(curve(f"Held-out success {label}", lines, y="success", note=SEEDS_BAND, percent=True))
            charts.append(_ends(arms, with_skill, label))
    tables = [_by_type(arms, with_skill, label) for with_skill, label in SKILLS]
    intro = (
        "The policy plays every task of a fixed panel. Success without the skill is what was learned; success with "
        "it shows whether the teacher, which has the same weights, still works."
    )
    return Section("held-out", "Held-out success", intro, _known(charts), _known(tables))


def _ends(arms: Sequence[Arm], with_skill: bool, label: str) -> Chart | None:
    rows = []
    for arm in arms:
        values = final_values(arm, with_skill)
        if values:
            found = t_interval(values)
            rows.append(Interval(arm.label, found.estimate, found.low, found.high, values))
    if not rows:
        return None
    note = "Mark and bar: mean and 95 % t interval over seeds; rings: the single seeds."
    svg = interval_chart(rows, x_label=f"success {label} after training", percent=True)
    lines = tuple(Series(row.label, [0.0], [row.mean]) for row in rows)
    return Chart(f"After training, {label}", svg, note, lines, percent=True)


def final_values(arm: Arm, with_skill: bool) -> list[float]:
    """Success of every run of an arm at its last evaluation."""
    found = [_last_result(run, with_skill) for run in arm.runs]
    return [result.overall.success for result in found if result is not None]


def _last_result(run: RunDir, with_skill: bool) -> EvaluationResult | None:
    played = evaluations(run)
    return played[max(played)].result(with_skill) if played else None


def _by_type(arms: Sequence[Arm], with_skill: bool, label: str) -> Table | None:
    """Per task type after training; of a single run also before."""
    single = len(arms) == 1 and len(arms[0].runs) == 1
    columns: list[tuple[str, list[EvaluationResult]]] = []
    if single:
        played = evaluations(arms[0].runs[0])
        for step in sorted({min(played), max(played)} if played else ()):
            result = played[step].result(with_skill)
            columns += [(f"after step {step}" if step else "before", [result])] if result else []
    else:
        for arm in arms:
            results = [result for run in arm.runs if (result := _last_result(run, with_skill)) is not None]
            columns += [(f"{arm.label} ({len(results)} seeds)", results)] if results else []
    if not columns:
        return None
    types = sorted({name for _, results in columns for result in results for name in result.types})
    rows = [[name, *(_cell([r.types.get(name) for r in found], found) for _, found in columns)] for name in types]
    rows.append(["all", *(_cell([r.overall for r in found], found) for _, found in columns)])
    note = TASKS_BAND if single else "Mean over seeds [95 % t interval]."
    return Table(f"Success per task type, {label}", ["task type", *(name for name, _ in columns)], rows, note)


def _cell(found: Sequence[Rate | None], results: Sequence[EvaluationResult]) -> str | None:
    """Success and further metrics: of one result with its interval, of several the mean over seeds."""
    rates = [rate for rate in found if rate is not None]
    if not rates:
        return None
    labels = results[0].metrics
    if len(rates) == 1:
        rate = rates[0]
        return f"{span(rate.success, rate.low, rate.high)} ({rate.won}/{rate.of}){further_metrics(rate, labels)}"
    mean = t_interval([rate.success for rate in rates])
    return span(mean.estimate, max(0.0, mean.low), min(1.0, mean.high)) + _means(rates, labels)


def _means(rates: Sequence[Rate], labels: Sequence[MetricLabel]) -> str:
    known = [(label, [rate.metrics.get(label.name) for rate in rates]) for label in labels]
    values = [(label.title, [value for value in found if value is not None]) for label, found in known]
    return "".join(f", {title} {sum(found) / len(found):.3f}" for title, found in values if found)


def sweep(results: SweepResults) -> Section:
    """The table of a sweep with the paper's figures, its verdicts, and how fast every point learnt."""
    title, columns, rows = point_table(results)
    table = Table(title, ["point", *columns[1:]], rows)
    early = [(point.point, point.early) for point in results.points if point.early]
    bars = [Interval(label, e.mean, e.low, e.high, e.values) for label, e in early]
    charts = []
    if bars:
        svg = interval_chart(bars, x_label="mean success of early training episodes", percent=True)
        lines = tuple(Series(bar.label, [0.0], [bar.mean]) for bar in bars)
        note = f"Steps 1 to {results.early_steps}. Mark and bar: mean and 95 % t interval over seeds; rings: the seeds."
        charts.append(Chart("Early speed", svg, note, lines, percent=True))
    intro = " ".join(f"{text[0].upper()}{text[1:]}." for text in remarks(results))
    return Section("sweep", "The sweep", intro, charts, [table])


def training(arms: Sequence[Arm]) -> Section:
    """What the optimiser did."""
    return Section("training", "Training", "", _curves(arms, TRAINING))


def signal(arms: Sequence[Arm]) -> Section | None:
    """The teacher's signal as the paper's figures show it; None where no arm has a teacher."""
    charts = [*_curves(arms, SIGNAL), *_by_turn(arms)]
    if not charts:
        return None
    intro = (
        "The gap is the teacher's log-prob of a sampled token minus the student's; below zero the teacher gives the "
        "token a lower probability than the student does. Minus its mean is the one-sample estimate of "
        "KL(student || teacher)."
    )
    return Section("signal", "The teacher's signal", intro, charts)


def _curves(arms: Sequence[Arm], what: Sequence[tuple[str, str, str, bool]]) -> list[Chart]:
    note = SEEDS_BAND if any(len(arm.runs) > 1 for arm in arms) else ""
    read = [(arm, metrics_of(arm)) for arm in arms]
    found = []
    for key, title, y, percent in what:
        lines = [training_series(arm.label, rows, key) for arm, rows in read]
        found.append(curve(title, lines, y=y, note=note, percent=percent, zero=key == "gap_mean"))
    return _known(found)


def _by_turn(arms: Sequence[Arm]) -> list[Chart]:
    """Gap and KL of each turn: of several arms averaged over training; of one run in its first and last step."""
    if len(arms) > 1 or len(arms[0].runs) > 1:
        lines = [turn_series(arm.label, metrics_of(arm), "gap_by_turn") for arm in arms]
        note = f"Mean over all steps. {SEEDS_BAND}"
        return _known([curve("Mean gap per turn", lines, x="turn", y="nats", note=note, zero=True)])
    files = arms[0].runs[0].episode_files()
    ends = list(dict.fromkeys([min(files), max(files)])) if files else []
    gap = [_turn_means(step, files[step], lambda value: value) for step in ends]
    kl = [_turn_means(step, files[step], lambda value: math.expm1(value) - value) for step in ends]
    note = "In the first and the last step of training."
    return _known(
        [
            curve("Mean gap per turn", gap, x="turn", y="nats", note=note, zero=True),
            curve(
                "KL(student || teacher) per turn",
                kl,
                x="turn",
                y="nats per token (k3)",
                note=f"{note} The k3 estimate exp(gap) - 1 - gap, which is never negative.",
                zero=True,
            ),
        ]
    )


def _turn_means(step: int, path: Path, of: Callable[[float], float]) -> Series:
    """The mean of a function of the gap over the tokens of each turn (from 1) of a step's episodes."""
    values: dict[int, list[float]] = {}
    for record in read_episodes(path):
        for turn, played in enumerate(record.turns, 1):
            gaps = played.detail.token_gap if played.detail else None
            known = [of(gap) for gap in gaps or () if gap is not None]
            if known:
                values.setdefault(turn, []).extend(known)
    turns = sorted(values)
    return Series(f"step {step}", [float(turn) for turn in turns], [sum(values[t]) / len(values[t]) for t in turns])


def paper(methods: Sequence[str]) -> Section | None:
    """What the paper reports for these methods, from their presets."""
    rows = []
    for method in dict.fromkeys(methods):
        if method in list_presets("methods"):
            reported = load_preset(method, "methods").about.get("paper", {})
            rows += [[method, model, *str(values).split(" / ")] for model, values in reported.items()]
    if not rows:
        return None
    columns = ["method", "model", *paper_columns()]
    note = "Per cent, from the paper's Table 1: other models and tasks, one seed; not comparable with this report."
    return Section("paper", "The paper's own numbers", "", (), [Table("Reported by the paper", columns, rows, note)])


def tests(comparison: Comparison) -> Section:
    """What ``sdar compare`` reports of the arms: measures, tests, power."""
    tables = [*value_tables(comparison)[1:2], *difference_tables(comparison)]
    shown = [Table(table.title, table.columns, table.rows, "", table.marked) for table in tables]
    return Section("tests", "Comparison", " ".join(f"{line}." for line in power_lines(comparison)), (), shown)


def settings(arms: Sequence[Arm]) -> Section:
    """Of one arm what differs from the defaults; of several what differs between them."""
    from sdar_cli.config.merge import changed_keys, flatten

    if len(arms) == 1:
        config = arms[0].runs[0].config()
        values = flatten(config)
        rows = [[key, str(values[key])] for key in sorted(changed_keys(config) - {"name", "seed"})]
        title, note = "Settings that differ from the defaults", ""
    else:
        rows = [[row.key, *row.values] for row in setting_differences(arms)]
        title, note = "Settings that differ between the arms", "All other settings are the same."
    return Section(
        "settings", "Settings", "", (), [Table(title, ["setting", *(arm.label for arm in arms)], rows, note)]
    )


def facts(arms: Sequence[Arm]) -> list[tuple[str, str]]:
    """The numbers at the head of the page."""
    out = []
    for arm in arms if len(arms) <= 4 else ():
        for with_skill, label in SKILLS:
            values = final_values(arm, with_skill)
            if values:
                name = label if len(arms) == 1 else f"{arm.label}, {label}"
                out.append((name, _headline(values)))
    return out


def _headline(values: Sequence[float]) -> str:
    if len(values) == 1:
        return share(values[0]) or ""
    found = t_interval(values)
    return f"{100 * found.estimate:.1f} ± {100 * (found.high - found.estimate):.1f} %"


def _known(found: Sequence[Any]) -> list[Any]:
    return [each for each in found if each is not None]
