"""Run directories, their status and provenance, and the metrics file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from places import ROOT

from sdar_cli.base.errors import ConfigError, RunConflictError, RunFailedError
from sdar_cli.base.files import read_json_lines, write_json_atomic, write_text_atomic
from sdar_cli.config.schema import RunConfig
from sdar_cli.runs.metrics import MetricsWriter, read_metrics
from sdar_cli.runs.rundir import RunDir, default_name, differences, list_runs
from sdar_cli.runs.show import overview


def config(**sections: object) -> RunConfig:
    return RunConfig.model_validate(sections)


def test_a_new_run_has_everything_in_place(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, config(name="a", seed=7), ["train", "--seed", "7"])
    assert run.path == tmp_path / "a"
    assert all(folder.is_dir() for folder in (run.episodes, run.eval, run.checkpoints, run.logs))
    assert run.config() == config(name="a", seed=7)
    origin = run.provenance()
    assert origin["argv"] == ["train", "--seed", "7"]
    assert origin["seeds"] == {"run": 7, "games": 0}
    assert origin["packages"]["pydantic"]
    assert {"commit", "dirty", "python", "platform", "cpu_count", "gpu", "deterministic"} <= origin.keys()
    assert origin["panel_sha256"] is None
    assert run.diff_path.exists()
    run.update_provenance(panel_sha256="abc", model_revision="main")
    assert run.provenance() == {**origin, "panel_sha256": "abc", "model_revision": "main"}


def test_provenance_does_not_load_torch_to_name_the_gpu() -> None:
    code = "import sys; from sdar_cli.runs.provenance import gpu_name; "
    code += "assert gpu_name() is None; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert done.stdout.strip() == "False"


def environment() -> dict[str, str]:
    root = str(ROOT)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


def test_a_directory_in_use_is_refused_and_an_empty_one_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    RunDir.create(tmp_path, config(name="empty"))
    with pytest.raises(RunConflictError) as caught:
        RunDir.create(tmp_path, config(name="empty"))
    assert caught.value.exit_code == 4
    assert "--resume" in caught.value.fix
    (tmp_path / "file").write_text("")
    with pytest.raises(RunConflictError):
        RunDir.create(tmp_path, config(name="file"))


def test_default_names_say_what_ran_and_are_unique(tmp_path: Path) -> None:
    when = datetime(2026, 11, 22, 22, 15, 0)
    assert default_name(config(), when) == "alfworld-sdar-gap-s0-20261122-221500"
    grpo = config(method="grpo", algo={"coef": 0}, seed=3)
    assert default_name(grpo, when) == "alfworld-grpo-s3-20261122-221500"
    own = config(algo={"gate": "my.gates:soft"})
    assert default_name(own, when) == "alfworld-sdar-soft-s0-20261122-221500"
    names = {RunDir.create(tmp_path, config()).name for _ in range(3)}
    assert len(names) == 3


def test_opening_by_name_by_path_and_the_latest(tmp_path: Path) -> None:
    first, second = (RunDir.create(tmp_path, config(name=name)) for name in ("zz", "aa"))
    assert RunDir.open("zz", tmp_path).path == first.path
    assert RunDir.open(first.path, Path("elsewhere")).path == first.path
    assert RunDir.latest(tmp_path).path == second.path
    assert [run.name for run in list_runs(tmp_path)] == ["zz", "aa"]
    with pytest.raises(ConfigError, match="did you mean 'zz'"):
        RunDir.open("zz2", tmp_path)
    with pytest.raises(ConfigError, match="no run under"):
        RunDir.latest(tmp_path / "none")


def test_status_follows_the_run_and_adds_up_attempts(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, config(name="a"))
    assert run.status() == {}
    assert run.overview()["status"] == "created"
    run.start()
    assert run.status()["state"] == "running"
    run.finish("interrupted")
    first = run.status()
    run.start()
    assert run.status()["attempts"] == 2
    run.finish("done", summary={"success_before": 0.1, "success_after": 0.5})
    last = run.status()
    assert (last["state"], last["attempts"], last["started"]) == ("done", 2, first["started"])
    assert last["seconds"] >= first["seconds"]
    assert (run.overview()["success_before"], run.overview()["success_after"]) == (0.1, 0.5)


HOLDER = """
import sys
from pathlib import Path
from sdar_cli.runs.rundir import RunDir
run = RunDir(Path(sys.argv[1]))
run.start()
print("started", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_is_lost_and_a_living_one_is_in_the_way(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, config(name="a"))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "started\n"
    assert run.status()["state"] == "running"
    with pytest.raises(RunConflictError, match="still running"):
        run.resume([], config(name="a"))
    with pytest.raises(RunConflictError, match="still running"):
        run.start()
    holder.kill()
    holder.communicate()
    status = json.loads(run.status_path.read_text())
    write_json_atomic(run.status_path, {**status, "host": "another"})  # a restarted container has another name
    assert run.status()["state"] == "lost"
    run.resume([], config(name="a"))
    run.start()
    assert run.status()["attempts"] == 2


def test_resuming_is_noted_and_keeps_the_raised_steps(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, config(name="a"), ["train"])
    run.resume(["train", "--resume", "a"], config(name="a", train={"steps": 30}))
    run.resume(["again"], config(name="a", train={"steps": 30}))
    assert [start["argv"] for start in run.provenance()["resumed"]] == [["train", "--resume", "a"], ["again"]]
    assert run.provenance()["argv"] == ["train"]
    assert run.config().train.steps == 30


def test_differences_name_dotted_keys_and_ignore_the_name() -> None:
    found = differences(config(name="a"), config(name="b", algo={"gate": "none"}, model={"lora": {"rank": 4}}))
    assert found == {"algo.gate": ("gap", "none"), "model.lora.rank": (0, 4)}


def test_damaged_files_are_named(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, config(name="a"))
    run.status_path.write_text('{"state": ')
    with pytest.raises(RunFailedError, match=r"status\.json"):
        run.status()


def test_atomic_writing_leaves_the_old_content_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json_atomic(path, {"a": float("nan"), "b": [float("inf"), 1.5], "c": (1,)})
    assert json.loads(path.read_text()) == {"a": None, "b": [None, 1.5], "c": [1]}
    with pytest.raises(TypeError):
        write_json_atomic(path, {"a": object()})
    assert json.loads(path.read_text())["c"] == [1]
    write_text_atomic(path, "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_metrics_are_on_disk_after_each_write(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(path) as writer:
        writer.write({"step": 1, "kl": float("nan"), "last_episode": "gewärmt"})
        assert read_metrics(path) == [{"step": 1, "kl": None, "last_episode": "gewärmt"}]
        writer.write({"step": 2})
    assert [row["step"] for row in read_metrics(path)] == [1, 2]
    assert read_metrics(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("tail", [b'{"step": 3, "succ', b'{"step": 3, "a": "\xc3'])
def test_a_torn_last_line_is_left_out_and_mended(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n' + tail)
    assert [row["step"] for row in read_metrics(path)] == [1, 2]
    with MetricsWriter(path) as writer:
        writer.write({"step": 3})
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]


def test_a_whole_last_line_without_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}')
    with MetricsWriter(path) as writer:
        writer.write({"step": 3})
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]


def test_damage_in_the_middle_is_an_error_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(RunFailedError, match="line 2"):
        read_metrics(path)


def test_truncation_drops_later_steps_and_goes_on_appending(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(path) as writer:
        for step in range(1, 6):
            writer.write({"step": step, "try": 1})
        writer.truncate_after(3)
        writer.write({"step": 4, "try": 2})
    assert [(row["step"], row["try"]) for row in read_metrics(path)] == [(1, 1), (2, 1), (3, 1), (4, 2)]


def test_only_a_newline_ends_a_line_whatever_a_model_wrote(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl"
    rows = [{"text": "a\u2028b\u0085c\x0cd"}, {"text": "e"}]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert list(read_json_lines(path)) == rows
    path.write_bytes(path.read_bytes() + b"{")
    with pytest.raises(RunFailedError, match="line 3, is not JSON"):
        list(read_json_lines(path))
    assert list(read_json_lines(path, torn_tail=True)) == rows


def test_a_start_that_was_killed_leaves_its_name_free(tmp_path: Path) -> None:
    (tmp_path / "a" / "eval").mkdir(parents=True)
    (tmp_path / "a" / "provenance.json").write_text("{")
    (tmp_path / "a" / ".config.json.1.tmp").write_text("{")
    run = RunDir.create(tmp_path, config(name="a"))
    assert run.config() == config(name="a") and not list(run.path.glob(".*"))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(RunConflictError) as caught:
        RunDir.create(tmp_path, config(name="b"))
    assert "remove it" in caught.value.fix and "--resume" not in caught.value.fix


DAMAGES = [
    ("status.json", '{"state": "done", "seconds": [null]}'), ("status.json", "[1]"), ("status.json", "["),
    ("status.json", "[" * 100_000), ("status.json", '{"summary": "x"}'), ("metrics.jsonl", '"="\n'),
    ("metrics.jsonl", '{"step": "two"}\n'), ("metrics.jsonl", "[]\n"), ("config.json", '{"env": 3}'),
    ("config.json", '{"model": [], "train": {}}'), ("provenance.json", "{"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content"), DAMAGES)
def test_a_damaged_run_is_listed_beside_the_others(tmp_path: Path, name: str, content: str) -> None:
    for each in ("good", "odd"):
        run = RunDir.create(tmp_path, config(name=each))
        run.start()
        run.finish("done", summary={})
    (tmp_path / "odd" / name).write_text(content)
    rows = {row["name"]: row for row in map(overview, list_runs(tmp_path))}
    assert rows["good"]["status"] == "done" and rows.keys() == {"good", "odd"}
    if name != "provenance.json":
        assert rows["odd"]["status"] == "damaged" and name in rows["odd"]["error"]
