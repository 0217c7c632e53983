"""WebShop's record: what the rest of the program asks of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdar_cli.base.errors import Missing, PrerequisiteError
from sdar_cli.envs.benchmark import Benchmark, Check, PlayRules, RunSettings, Steps
from sdar_cli.envs.webshop import prompt
from sdar_cli.envs.webshop.options import WebShopOptions

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.envs.webshop.env import WebShopEnvironment


def _open(options: WebShopOptions, reporter: Reporter | None = None) -> WebShopEnvironment:
    from sdar_cli.envs.webshop.env import open_environment

    return open_environment(options, reporter)


def _missing(options: WebShopOptions) -> list[Missing]:
    if options.source != "real":
        return []
    from sdar_cli.envs.webshop.catalogue.catalog import find_files

    try:
        find_files(Path(str(options.data)).expanduser())
    except PrerequisiteError as error:
        return [Missing(f"WebShop catalogue: {error.what}", error.fix)]
    return []


def _warnings(config: RunSettings) -> list[str]:
    if config.env.split_rule != "released":
        return []
    return [
        "env.split_rule = released: train and held-out goals share products, and the paper's code drew other goals "
        "at each validation; for new work use product-disjoint"
    ]


def _steps() -> Steps:
    from sdar_cli.envs.webshop import steps

    return steps


def _data() -> Mapping[str, Callable[..., None]]:
    from sdar_cli.envs.webshop import commands

    return {"make": commands.make, "verify": commands.verify}


def _checks() -> Sequence[Check]:
    """The tagger of the rewards: optional, since the generated catalogue has its nouns with it."""
    from sdar_cli.envs.webshop.catalogue.nouns import INSTALL, installed_model

    model = installed_model()
    if model:
        return [Check("ok", "WebShop tagger", f"spaCy, {model}", "optional")]
    fix = f"{INSTALL}, for rewards on the original's catalogues; the generated one needs nothing"
    return [Check("optional", "WebShop tagger", "none", "optional", fix)]


WEBSHOP = Benchmark(
    name="webshop",
    title="WebShop",
    description="shopping by instruction in a text store",
    options=WebShopOptions,
    open=_open,
    prompts=prompt,
    bank="webshop",
    default_model="tiny-webshop",
    noun="goals",
    missing=_missing,
    warnings=_warnings,
    metrics=("score",),
    steps=_steps,
    data=_data,
    checks=_checks,
    play=PlayRules(
        split="all",
        verbatim=True,
        past_end=True,
        examples=("--task human/12 --data ~/webshop --actions plan.txt --json --set env.observation=text_rich",),
    ),
)
