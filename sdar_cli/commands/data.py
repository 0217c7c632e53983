"""``sdar data``: make data sets and check them.  What an environment offers is in its own folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

from sdar_cli.commands.examples import ENV
from sdar_cli.commands.options import JsonObject

if TYPE_CHECKING:
    from sdar_cli.envs.benchmark import Benchmark


class _ByEnvironment(TyperGroup):
    """One sub-command per environment, imported when it is asked for."""

    verb: ClassVar[str]

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the environments that have the verb."""
        from sdar_cli.envs.registry import ENVIRONMENT, benchmark

        return [name for name in ENVIRONMENT.names() if _command(name, benchmark(name), self.verb)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of an environment, by name or import path; None where there is none."""
        from sdar_cli.base.plugins import is_path
        from sdar_cli.envs.registry import ENVIRONMENT, benchmark

        if cmd_name not in ENVIRONMENT.names() and not is_path(cmd_name):
            return None
        function = _command(cmd_name, benchmark(cmd_name), self.verb)
        if function is None:
            return None
        app = typer.Typer(add_completion=False)
        app.command(cmd_name)(function)
        found = typer.main.get_command(app)
        found.name = cmd_name
        return found


class _Make(_ByEnvironment):
    verb = "make"


class _Verify(_ByEnvironment):
    verb = "verify"


def register(app: typer.Typer) -> None:
    """Add ``data`` to the main application."""
    data = typer.Typer(no_args_is_help=True, help="Make and check the data sets of the environments.")
    make = typer.Typer(cls=_Make, no_args_is_help=True, help=f"Generate a data set: sdar data make {ENV} --out DIR.")
    verify = typer.Typer(cls=_Verify, no_args_is_help=True, help=f"Check data: sdar data verify {ENV}.")
    for group in (data, make, verify):
        group.callback()(_group)
    data.add_typer(make, name="make")
    data.add_typer(verify, name="verify")
    app.add_typer(data, name="data", rich_help_panel="Look and prepare")


def _group() -> None:
    pass


def _command(name: str, benchmark: Benchmark, verb: str) -> Callable[..., None] | None:
    own = benchmark.data().get(verb)
    return _checked_by_opening(name, benchmark) if own is None and verb == "verify" else own


def _checked_by_opening(name: str, benchmark: Benchmark) -> Callable[..., None]:
    """``verify`` of an environment that has no check of its own."""

    def verify(
        data: Annotated[str | None, typer.Option("--data", help="Folder of the original's data.")] = None,
        sets: Annotated[
            list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of env; repeatable.")
        ] = None,
        as_json: JsonObject = False,
    ) -> None:
        """Open the data, list the splits that a run uses, and check their tasks."""
        from sdar_cli.base.display import Reporter
        from sdar_cli.config.presets import env_settings
        from sdar_cli.envs.panels import make_panel
        from sdar_cli.envs.registry import open_environment

        options = env_settings(name, data, sets or [])
        splits: dict[str, dict[str, object]] = {}
        with Reporter(as_json) as reporter, open_environment(options, reporter) as environment:
            for split in dict.fromkeys([options.train_split, benchmark.held_out(options)]):
                panel = make_panel(environment.tasks(split))
                environment.preflight(panel.tasks)
                reporter.info(f"{split}: {len(panel.tasks)} {benchmark.noun} are good, sha256 {panel.sha256[:12]}")
                splits[split] = {"tasks": len(panel.tasks), "sha256": panel.sha256}
            if as_json:
                reporter.emit_object({"environment": name, "splits": splits})

    return verify
