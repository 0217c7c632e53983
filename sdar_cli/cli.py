"""The ``sdar`` command: registers the sub-commands and turns errors into messages and exit codes.

Nothing heavy is imported here or at the top of a command's module, so that ``sdar --help`` is quick.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from sdar_cli import __version__
from sdar_cli.base.errors import RunFailedError, SdarError, place_error
from sdar_cli.base.text import presentable
from sdar_cli.commands import (
    compare,
    data,
    doctor,
    env,
    eval,
    models,
    play,
    presets,
    probe,
    report,
    retriever,
    runs,
    skills,
    sweep,
    train,
)

HELP = """Train multi-turn LLM agents with GRPO and token-gated self-distillation (SDAR), and study what the gate does.

Start with [bold]sdar train[/bold]: it needs no download, no account and no GPU.
"""
EPILOG = """Examples:

sdar train --gate gap --seed 1

sdar train --dry-run --set train.steps=30

sdar runs list

An error's traceback is shown with --debug, anywhere on the line, or SDAR_DEBUG=1."""


class Commands(TyperGroup):
    """The sub-commands.  A file that ends too early is an error like any other; click would print ``Aborted.``."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EOFError as error:
            why = str(error) or "a file or answer ended before its content did"
            raise RunFailedError("something that is read is cut off", why=why, fix="make or copy it again") from error


app = typer.Typer(
    name="sdar",
    cls=Commands,
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"sdar {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


for _command in (
    train,
    eval,
    sweep,
    compare,
    report,
    probe,
    play,
    runs,
    presets,
    skills,
    data,
    env,
    retriever,
    models,
    doctor,
):
    _command.register(app)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    0 ok, 1 failed, 2 usage, 3 prerequisite, 4 run conflict, 5 ``compare --fail-if-worse``, 130 interrupted.
    """
    # Read when torch is loaded.  Spinning threads make a two-thread run crawl when another process wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _replace_what_streams_do_not_take()
    words, debug = _take_debug(list(sys.argv[1:] if args is None else args))
    try:
        app(args=words, prog_name="sdar")
    except SdarError as error:
        _fail(error, debug)
    except OSError as error:
        _fail(place_error(error, words), debug)
    except Exception as error:
        _show_traceback(debug)
        print(presentable(f"error: {type(error).__name__}: {error}".splitlines()[0]), file=sys.stderr)
        if not debug:
            print("fix: rerun with --debug for the traceback", file=sys.stderr)
        sys.exit(1)


def _fail(error: SdarError, debug: bool) -> None:
    _show_traceback(debug)
    print(error.render(), file=sys.stderr)
    sys.exit(error.exit_code)


def _replace_what_streams_do_not_take() -> None:
    """A character that a terminal's or a pipe's encoding lacks is shown as a question mark, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _take_debug(words: list[str]) -> tuple[list[str], bool]:
    """``--debug`` may stand anywhere before ``--``; the environment may ask for it too."""
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"] + words[end:]
    return kept, len(kept) < len(words) or os.environ.get("SDAR_DEBUG", "") not in ("", "0")


def _show_traceback(debug: bool) -> None:
    if debug:
        print(presentable(traceback.format_exc()), file=sys.stderr)
