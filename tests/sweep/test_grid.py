"""What a sweep varies: the shipped grids, ``--grid``, values, and the points of their product."""

from __future__ import annotations

from typing import Any

import pytest

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.presets import load_preset
from sdar_cli.sweep.grid import list_sweeps, load_sweep, parse_grid, parse_values, points, text_of

GRIDS: dict[str, tuple[str, list[str]]] = {
    "beta": ("algo.gate_beta", ["0", "1", "5", "10"]),
    "gate": ("algo.gate", ["gap", "entropy", "soft-or", "none"]),
    "retrieval": ("skills.retrieval", ["ucb", "task-type", "keyword", "full", "random", "none"]),
    "objective": ("algo.objective", ["reverse-kl", "jsd", "forward-kl", "surrogate", "signed"]),
    "method": (
        "method", ["grpo", "sdar", "opsd", "grpo-opsd", "skill-grpo", "skill-prompt", "skill-sd", "rlsd"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRIDS)
def test_the_grids_of_the_paper(name: str) -> None:
    key, values = GRIDS[name]
    axis = load_sweep(name).axis
    assert (axis.key, [choice.text for choice in axis.choices]) == (key, values)


@pytest.mark.parametrize("name", list_sweeps())
def test_every_sweep_says_what_it_is_and_its_figures_belong_to_its_values(name: str) -> None:
    preset = load_sweep(name)
    assert len(preset.description) > 20 and preset.seeds >= 2
    known = {choice.figure for choice in preset.axis.choices} | {f"x{factor:g}" for factor in preset.axis.factors}
    for env, figures in preset.paper.items():
        assert env == "note" or set(figures) <= known, (name, env)
    assert set(preset.instead) <= known


def test_figures_of_the_methods_are_those_of_their_presets() -> None:
    """Table 1, Qwen2.5-3B: ALFWorld success / Search-QA mean / WebShop score / WebShop success."""
    paper = load_sweep("method").paper
    for method in GRIDS["method"][1]:
        parts = [part.split(" / ") for part in load_preset(method).about["paper"]["Qwen2.5-3B"].split(", ")]
        assert paper["alfworld"][method] == " / ".join(part[0] for part in parts)
        assert paper["search"][method] == " / ".join(part[1] for part in parts)
        assert paper["webshop"][method] == " / ".join(part[3].split()[0] for part in parts)
    three, seven = (load_preset("sdar").about["paper"][model].split(" / ") for model in ("Qwen2.5-3B", "Qwen2.5-7B"))
    for sweep, value, expected in (("beta", "5", three), ("gate", "gap", three), ("coef", "x1", three),
                                   ("objective", "surrogate", seven)):  # fmt: skip
        figures = load_sweep(sweep).paper
        assert [figures[env][value] for env in ("alfworld", "search", "webshop")] == [expected[n] for n in (0, 1, 3)]


@pytest.mark.parametrize(
    "value, text", [(5.0, "5"), (0.001, "0.001"), (1e-6, "1e-06"), (True, "true"), ("gap", "gap"), (3, "3")]
)
def test_values_as_text(value: Any, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    "key, text, values",
    [
        ("algo.coef", "0.1, 1,1e-2", [0.1, 1, 0.01]),
        ("algo.gate", "gap,my_gates:per_row", ["gap", "my_gates:per_row"]),
        ("algo.adv_std", "true,false", [True, False]),
        ("teacher.views", "[{retrieval='full'},{form='brief'}],[]", [[{"retrieval": "full"}, {"form": "brief"}], []]),
        ("method", "grpo,,sdar", ["grpo", "sdar"]),
    ],
)
def test_values_are_parsed_and_brackets_keep_their_commas(key: str, text: str, values: list[Any]) -> None:
    assert parse_values(key, text) == values


def test_points_are_all_combinations_and_the_first_axis_is_the_slowest() -> None:
    made = points([parse_grid("algo.coef=0.1,1"), parse_grid("method=sdar,grpo")])
    assert [point.label for point in made] == [
        "coef=0.1, method=sdar", "coef=0.1, method=grpo", "coef=1, method=sdar", "coef=1, method=grpo",
    ]  # fmt: skip
    assert made[2].settings == {"algo.coef": 1, "method": "sdar"}
    assert made[0].slug == "coef-0.1-method-sdar"


def test_keys_of_one_name_keep_their_section_and_names_of_files_differ() -> None:
    made = points([parse_grid("skills.retrieval=full"), parse_grid("teacher.weights=live")])
    assert made[0].label == "retrieval=full, weights=live"
    both = points([parse_grid("teacher.max_prompt_tokens=640"), parse_grid("model.max_prompt_tokens=512")])
    assert both[0].label == "teacher.max_prompt_tokens=640, model.max_prompt_tokens=512"
    alike = points([parse_grid("algo.gate=a:b,a.b:c,a:b_,a:b-c")])
    assert len({point.slug for point in alike}) == 4


@pytest.mark.parametrize(
    "text, message",
    [
        ("algo.coeff=1,2", "did you mean 'algo.coef'"),
        ("algo.coef", "no values"),
        ("algo.coef=", "no values"),
        ("seed=1,2", "--seeds N"),
        ("name=a,b", "is no axis"),
    ],
)
def test_a_bad_grid_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_grid(text)
    assert message in caught.value.render()


def test_nothing_is_varied_twice() -> None:
    with pytest.raises(ConfigError, match=r"algo.coef is varied twice; algo.coef has 1 twice"):
        points([parse_grid("algo.coef=1,1.0"), parse_grid("algo.coef=2")])


def test_an_unknown_sweep_is_answered() -> None:
    with pytest.raises(ConfigError, match="did you mean 'beta'"):
        load_sweep("betta")
