"""From run directories to a report, and from a report to one HTML file.

The file needs no network and no script.  Everything that a model, an environment or a user wrote is escaped (Jinja's
autoescaping; ``clean`` takes out control characters).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sdar_cli.analysis.compare.arms import Arm
from sdar_cli.analysis.compare.build import compare
from sdar_cli.analysis.report import sections
from sdar_cli.analysis.report.content import Report, Section, Table
from sdar_cli.analysis.report.episodes import SHADES, shown_episodes
from sdar_cli.analysis.report.series import evaluations
from sdar_cli.base.display import duration
from sdar_cli.base.errors import ConfigError
from sdar_cli.base.text import clean
from sdar_cli.runs.collapse import CollapseWatch, success_sign
from sdar_cli.runs.metrics import StepMetrics, read_steps
from sdar_cli.runs.rundir import RunDir

TEMPLATE = "report.html.j2"
PROVENANCE = (
    "created", "argv", "commit", "dirty", "sdar", "python", "platform", "cpu_count", "gpu", "model", "parameters",
    "dtype", "device", "panel_sha256", "train_tasks_sha256", "skill_bank_sha256", "processes",
)  # fmt: skip
FEW_MIXED = 0.25
"""A share of groups with different rewards below which GRPO has little to learn from."""
MUCH_LOST = 0.1
"""A fall of success with the skill that is worth a word."""


def build_report(arms: Sequence[Arm], title: str, *, more: Sequence[Section] = (), episodes: int = 12) -> Report:
    """The report of one arm or of several.

    more: sections that come first, such as a sweep's results.  episodes: shown in all, of the first run of every arm.
    Raises SdarError subclasses for damaged runs, and ConfigError for arms of different panels.
    """
    for arm in arms:
        if len(arm.runs) < len(arm.members):
            raise ConfigError(f"{arm.label} is an evaluation without a run", fix="report runs, not evaluation files")
    compared = compare(arms) if len(arms) > 1 else None
    runs = [run for arm in arms for run in arm.runs]
    configs = [run.config() for run in runs]
    methods = [config.method for config in configs]
    found: list[Section | None] = [
        *more,
        sections.held_out(arms),
        sections.tests(compared) if compared else None,
        sections.training(arms),
        sections.signal(arms),
        sections.paper(methods),
        sections.settings(arms),
    ]
    per_arm = max(2, episodes // len(arms)) if episodes else 0
    return Report(
        title=title,
        subtitle=_subtitle(arms, configs),
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        facts=[*sections.facts(arms), *_counts(runs)],
        sections=[section for section in found if section is not None],
        episodes=[(arm.label, shown_episodes(arm.runs[0], per_arm)) for arm in arms],
        provenance=[_provenance(arm) for arm in arms],
        caveats=[*(_sentences(compared.notes) if compared else _alone(arms[0])), *_caveats(runs)],
    )


def _subtitle(arms: Sequence[Arm], configs: Sequence[Any]) -> str:
    environments = ", ".join(dict.fromkeys(config.env.name for config in configs))
    models = ", ".join(dict.fromkeys(config.model.name for config in configs))
    methods = ", ".join(dict.fromkeys(config.method for config in configs))
    return f"{methods} on {environments}, {models}"


def _counts(runs: Sequence[RunDir]) -> list[tuple[str, str]]:
    seconds = [float(run.status().get("seconds") or 0.0) for run in runs]
    steps = [len(read_steps(run.metrics)) for run in runs]
    spread = f"{min(steps)}" if min(steps) == max(steps) else f"{min(steps)} to {max(steps)}"
    return [("runs", str(len(runs))), ("steps", spread), ("time in all", duration(sum(seconds)))]


def _provenance(arm: Arm) -> Table:
    rows = []
    for key in PROVENANCE:
        values = [run.provenance().get(key) for run in arm.runs]
        texts = list(dict.fromkeys(_text(value) for value in values if value is not None))
        if texts:
            rows.append([key.replace("_", " "), texts[0] if len(texts) == 1 else "\n".join(texts)])
    packages = arm.runs[0].provenance().get("packages", {})
    rows.append(["packages", ", ".join(f"{name} {version}" for name, version in packages.items())])
    seeds = ", ".join(str(run.config().seed) for run in arm.runs)
    rows.append(["seeds", seeds])
    rows.append(["runs", "\n".join(run.name for run in arm.runs)])
    return Table(arm.label, ["what", "value"], rows)


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _sentences(notes: Sequence[str]) -> list[str]:
    return [f"{note[0].upper()}{note[1:]}." for note in notes]


def _alone(arm: Arm) -> list[str]:
    """Of one arm, what the notes of a comparison are for several."""
    out = []
    if len(arm.runs) == 1:
        out.append(
            f"{arm.label}: one seed. The intervals speak of the sampling of tasks only; another seed may come out "
            "differently by more than that."
        )
    for run in arm.runs:
        state = run.status().get("state")
        if state != "done":
            out.append(f"{run.name} is not finished ({state or 'never started'}): what is shown is what there is.")
    return out


def _caveats(runs: Sequence[RunDir]) -> list[str]:
    """What a reader must know before believing a number, found in the runs themselves."""
    out = []
    tiny = sorted({run.config().model.name for run in runs if run.config().model.name.startswith("tiny-")})
    if tiny:
        out.append(
            f"{', '.join(tiny)} has under a million parameters: what holds for it need not hold for a large model."
        )
    for run in runs:
        out += _run_caveats(run)
    return out


def _run_caveats(run: RunDir) -> list[str]:
    out = []
    steps = read_steps(run.metrics)
    present = _column(steps, "teacher/skill_present")
    if any(value < 1.0 for value in present):
        least = min(present)
        out.append(f"{run.name}: some teacher prompts held no skill (in the worst step {100 * least:.0f} % held one).")
    cut = _column(steps, "teacher/truncated_prompts")
    if any(value > 0 for value in cut):
        most = max(cut)
        out.append(f"{run.name}: teacher prompts were cut (in the worst step {100 * most:.0f} %); see the episodes.")
    shares = _column(steps, "mixed_group_ratio")
    mixed = sum(shares) / len(shares) if shares else 1.0
    if mixed < FEW_MIXED and run.config().algo.policy_coef:
        out.append(
            f"{run.name}: in only {100 * mixed:.0f} % of the groups did rewards differ; from the "
            "others the policy gradient learns nothing but penalties."
        )
    signs = CollapseWatch([step.to_json() for step in steps]).said.values()
    out += [f"{run.name}: {sign}." for sign in signs]
    skipped = sum(int(value) for value in _column(steps, "skipped_updates"))
    if skipped:
        out.append(f"{run.name}: {skipped} updates were left out, because a loss or gradient was not finite.")
    broken = sum(int(value) for value in _column(steps, "failed_episodes"))
    if broken:
        out.append(f"{run.name}: {broken} episodes ended because the environment failed; they are in no mean.")
    if run.provenance().get("dirty"):
        out.append(f"{run.name} ran with changed code (its code.diff has the changes).")
    return out + _teacher_lost(run) + _success_lost(run)


def _column(steps: Sequence[StepMetrics], key: str) -> list[float]:
    """A value of every step that has it."""
    return [value for step in steps if (value := step.number(key)) is not None]


def _success_lost(run: RunDir) -> list[str]:
    """A policy that plays far worse, without the skill, than before training."""
    played = evaluations(run)
    if len(played) < 2:
        return []
    ends = [played[step].result(False) for step in (min(played), max(played))]
    before, after = (end.overall.success if end else None for end in ends)
    sign = success_sign(before, after, "without the skill")
    return [f"{run.name}: {sign}."] if sign else []


def _teacher_lost(run: RunDir) -> list[str]:
    played = evaluations(run)
    if len(played) < 2:
        return []
    ends = [played[step].result(True) for step in (min(played), max(played))]
    if ends[0] is None or ends[1] is None:
        return []
    before, after = (end.overall.success for end in ends if end)
    if before - after < MUCH_LOST:
        return []
    return [
        f"{run.name}: success WITH the skill fell from {100 * before:.1f} to {100 * after:.1f} %: the teacher shares "
        "the weights and was damaged."
    ]


def render_html(report: Report) -> str:
    """The report as one HTML page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sdar_cli.analysis.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clean"] = lambda text: clean(str(text))
    return environment.get_template(TEMPLATE).render(report=report, shades=range(-SHADES, SHADES + 1))
