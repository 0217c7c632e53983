"""``sdar report``: runs as one self-contained HTML file, or in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdar_cli.commands import completion
from sdar_cli.commands.options import RUNS_DIR, SWEEPS_DIR, RunsDir, sweeps_dir_option

if TYPE_CHECKING:
    from sdar_cli.analysis.compare.arms import Arm
    from sdar_cli.analysis.report.content import Section

EPILOG = """Examples:

sdar report

sdar report my-run --out my-run.html --episodes 20

sdar report 'sdar-s*' 'grpo-s*' --out comparison.html

sdar report beta: --out beta.html

sdar report --terminal"""

References = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ARM]...",
        help="RUN, a pattern or RUN,RUN (one arm, seeds apart), or points of a sweep: SWEEP: or SWEEP:POINT.",
        show_default="the latest run",
        autocompletion=completion.run_names,
    ),
]
Out = Annotated[Path, typer.Option("--out", help="The HTML file.", dir_okay=False)]
Terminal = Annotated[bool, typer.Option("--terminal", help="Print it as text instead.")]
Episodes = Annotated[int, typer.Option("--episodes", min=0, help="Episodes in the browser, shared among the arms.")]
Named = Annotated[
    list[str] | None, typer.Option("--arm", help="An arm with a label; repeatable.", metavar="LABEL=RUN,RUN")
]
SweepsDir = Annotated[Path, sweeps_dir_option()]


def register(app: typer.Typer) -> None:
    """Add ``report``."""
    app.command("report", rich_help_panel="Train and evaluate", epilog=EPILOG)(report)


def report(
    references: References = None,
    named: Named = None,
    out: Out = Path("report.html"),
    terminal: Terminal = False,
    episodes: Episodes = 12,
    runs_dir: RunsDir = RUNS_DIR,
    sweeps_dir: SweepsDir = SWEEPS_DIR,
) -> None:
    """One HTML file of a run, or of several arms side by side: curves, dynamics, tables, episodes, provenance, caveats.

    The file needs no network and no script, prints, and reads in light, in dark and on a phone.
    """
    from sdar_cli.analysis.report.build import build_report, render_html
    from sdar_cli.analysis.report.terminal import print_report
    from sdar_cli.base.display import Reporter
    from sdar_cli.base.files import write_text_atomic

    arms = _arms(references or [], named or [], runs_dir, sweeps_dir)
    with Reporter() as reporter:
        swept = _swept(references or [], sweeps_dir)
        title = (
            f"sweep {references[0].rstrip(':*')}" if references and swept else " against ".join(a.label for a in arms)
        )
        made = build_report(arms, title, more=swept, episodes=episodes)
        if terminal:
            print_report(made, reporter)
            return
        write_text_atomic(out, render_html(made))
        reporter.info(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")


def _arms(references: list[str], named: list[str], runs_dir: Path, sweeps_dir: Path) -> list[Arm]:
    """The latest run where nothing is named; a sweep's name alone means its points."""
    from sdar_cli.analysis.compare.arms import Arm, Member, Places, resolve_arms
    from sdar_cli.runs.rundir import RunDir

    if not references and not named:
        latest = RunDir.latest(runs_dir)
        return [Arm(latest.name, (Member(latest),))]
    return resolve_arms(references, named, Places(runs_dir, sweeps_dir))


def _swept(references: list[str], sweeps_dir: Path) -> list[Section]:
    """What a sweep found, where the whole of one is reported (``NAME:``)."""
    from sdar_cli.analysis.report.sections import sweep
    from sdar_cli.analysis.sweeps.results import collect
    from sdar_cli.sweep.state import SweepDir

    if len(references) != 1 or not references[0].endswith((":", ":*")):
        return []
    return [sweep(collect(SweepDir.open(references[0].partition(":")[0], sweeps_dir)))]
