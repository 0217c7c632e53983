"""``sdar data``: make data sets and check them.  What is done is in ``data_alfworld`` and so on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sdar_cli.commands.options import JsonObject
from sdar_cli.config.choices import BENCHMARKS

data_app = typer.Typer(no_args_is_help=True, help="Make and check the data sets of the environments.")

ALFWORLD = "ALFWorld"
WEBSHOP = "WebShop"
SEARCH = "Search-QA"
OWN = {
    "alfworld": ("split", "games", "size", "check", "replay", "workers"),
    "webshop": ("products", "bad_rows", "against", "strict"),
    "search": ("retriever", "skip_bad", "k"),
}
"""Parameters that belong to one environment."""

EnvArgument = Annotated[BENCHMARKS, typer.Argument(help="Environment.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the generator.")]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        file_okay=False,
        help="Folder to fill; games come to json_2.1.1 in it.  A shop's default: webshop-PRODUCTS-SEED.",
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Folder that holds json_2.1.1, the shop's original files, or questions and corpus; default: the cached "
        "generated data.",
    ),
]

MadeSplitOption = Annotated[
    Literal["train", "eval"],
    typer.Option("--split", help="Split to make; the two never share a house.", rich_help_panel=ALFWORLD),
]
GamesOption = Annotated[int, typer.Option("--games", min=1, help="Number of games.", rich_help_panel=ALFWORLD)]
SizeOption = Annotated[
    Literal["small", "full"], typer.Option("--size", help="Size of the houses.", rich_help_panel=ALFWORLD)
]
CheckOption = Annotated[
    bool,
    typer.Option("--check/--no-check", help="Win each made game once in the engine.", rich_help_panel=ALFWORLD),
]
SplitOption = Annotated[
    str | None, typer.Option("--split", help="Split to check; default: every split.", rich_help_panel=ALFWORLD)
]
ReplayOption = Annotated[
    bool,
    typer.Option(
        "--replay", help="Also replay each game's stored walkthrough in the engine.", rich_help_panel=ALFWORLD
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers",
        min=0,
        help="Engine processes; 0 = one per core, which is also the most.",
        rich_help_panel=ALFWORLD,
    ),
]
ProductsOption = Annotated[int, typer.Option("--products", min=1, help="Products.", rich_help_panel=WEBSHOP)]
BadRowsOption = Annotated[
    bool,
    typer.Option("--bad-rows", help="Also a few rows that the original skips or fails on.", rich_help_panel=WEBSHOP),
]
AgainstOption = Annotated[
    Path | None,
    typer.Option(
        "--against",
        file_okay=False,
        help="Folder of golden files: compare with what the original engine gave for these data.",
        rich_help_panel=WEBSHOP,
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Stop at the first row or entry that the original fails on, and name it.",
        rich_help_panel=WEBSHOP,
    ),
]
RetrieverOption = Annotated[
    str | None,
    typer.Option("--retriever", help="Index folder or address, in place of the data's corpus.", rich_help_panel=SEARCH),
]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out up to 1 % of rows that are bad.", rich_help_panel=SEARCH)
]
KOption = Annotated[int, typer.Option("--k", min=1, max=50, help="Passages per question.", rich_help_panel=SEARCH)]


def register(app: typer.Typer) -> None:
    """Add ``data`` to the main application."""
    app.add_typer(data_app, name="data", rich_help_panel="Look and prepare")


@data_app.callback()
def _group() -> None:
    """Make and check the data sets of the environments."""


@data_app.command("make")
def make_command(
    context: typer.Context,
    env: EnvArgument,
    out: OutOption = None,
    seed: SeedOption = 0,
    split: MadeSplitOption = "train",
    games: GamesOption = 200,
    size: SizeOption = "small",
    check: CheckOption = True,
    workers: WorkersOption = 0,
    products: ProductsOption = 1000,
    bad_rows: BadRowsOption = False,
    as_json: JsonObject = False,
) -> None:
    """Generate a data set: games, each won once in the engine as proof; a shop's catalogue in the original's files; or
    passages with questions about them.

    Games are of all six task types.  The same call again finds a set made.

    Examples:

    sdar data make alfworld --out my-games

    sdar data make alfworld --split eval --games 60 --seed 7 --out my-games

    sdar data make alfworld --games 1000 --size full --no-check --out big-games

    sdar data make webshop --products 5000 --seed 3

    sdar data make webshop --products 100000 --seed 7 --out big-shop

    sdar data make search --seed 3 --out my-world
    """
    from sdar_cli.base.errors import ConfigError

    _refuse_others(context, env)
    if env == "webshop":
        from sdar_cli.commands.data_webshop import make as make_shop

        make_shop(out, products, seed, bad_rows, as_json)
        return
    if out is None:
        raise ConfigError(f"{env}'s data need a folder", fix=f"sdar data make {env} --out DIR")
    if env == "search":
        from sdar_cli.commands.data_search import make as make_world

        make_world(out, seed, as_json)
    else:
        from sdar_cli.commands.data_alfworld import make

        make(out, split, games, seed, size, check, workers, as_json)


@data_app.command("verify")
def verify_command(
    context: typer.Context,
    env: EnvArgument,
    data: DataOption = None,
    split: SplitOption = None,
    replay: ReplayOption = False,
    workers: WorkersOption = 0,
    against: AgainstOption = None,
    strict: StrictOption = False,
    retriever: RetrieverOption = None,
    skip_bad: SkipBadOption = False,
    k: KOption = 3,
    as_json: JsonObject = False,
) -> None:
    """Check data: games are readable, complete and solvable; a shop's files can be used, but for what is listed.

    Games: with --replay also that they can be won.  2,000 games take about a second, --replay half a second for each.

    A shop: with --against goals, prices, rewards, pages and searches are compared with the original's, one by one.

    Search-QA: questions are counted, the corpus is indexed, and questions whose passages are known are asked.

    Examples:

    sdar data verify alfworld

    sdar data verify alfworld --data $ALFWORLD_DATA

    sdar data verify alfworld --data $ALFWORLD_DATA --split valid_seen --replay --json

    sdar data verify webshop --data ~/webshop/data --strict

    sdar data verify webshop --data ~/webshop/data --against golden --json

    sdar data verify search --data my-questions --skip-bad
    """
    _refuse_others(context, env)
    if env == "search":
        from sdar_cli.commands.data_search import verify as verify_questions

        verify_questions(data, retriever, skip_bad, k, as_json)
        return
    if env == "alfworld":
        from sdar_cli.commands.data_alfworld import verify

        verify(data, split, replay, workers, as_json)
    else:
        from sdar_cli.commands.data_webshop import verify as verify_shop

        verify_shop(data, against, strict, as_json)


def _refuse_others(context: typer.Context, env: str) -> None:
    """Raises ConfigError for an option that belongs to another environment."""
    from sdar_cli.base.errors import ConfigError

    for owner, names in OWN.items():
        given = [name for name in names if _is_given(context, name)]
        if owner != env and given:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ConfigError(
                f"{options} cannot be used with {env}",
                why=f"only {owner} has it" if len(given) == 1 else f"only {owner} has them",
                fix=f"leave it out; see sdar data {context.info_name} --help",
            )


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether a parameter stands on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
