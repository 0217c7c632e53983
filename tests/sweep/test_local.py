"""Slots: how many runs at a time, and which cores and GPUs each one sees."""

from __future__ import annotations

import pytest

from sdar_cli.config.schema import RunConfig
from sdar_cli.sweep.local import make_slots, visible_gpus

CPU = RunConfig.model_validate({"model": {"device": "cpu"}})
ANY = RunConfig()


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdar_cli.sweep.local.core_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_cores_are_shared_among_the_slots() -> None:
    assert make_slots([CPU] * 20, None).count == 8
    slots = make_slots([CPU] * 20, 3)
    assert (slots.count, slots.threads) == (3, 2)
    assert slots.environment(0)["OMP_NUM_THREADS"] == "2"
    assert slots.environment(0)["CUDA_VISIBLE_DEVICES"] == ""
    assert make_slots([CPU] * 20, 16).threads == 1
    assert (make_slots([CPU] * 2, None).count, make_slots([CPU] * 2, None).threads) == (2, 4)


def test_each_gpu_has_a_slot_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    slots = make_slots([CPU, ANY, ANY], None)
    assert (slots.count, slots.threads) == (2, 4)
    assert [slots.environment(n)["CUDA_VISIBLE_DEVICES"] for n in range(2)] == ["2", "5"]
    shared = make_slots([ANY] * 9, 4)
    assert [shared.environment(n)["CUDA_VISIBLE_DEVICES"] for n in range(4)] == ["2", "5", "2", "5"]
    assert make_slots([CPU] * 9, None).gpus == ()  # nothing there wants one


def test_what_the_user_says_of_threads_and_gpus_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert make_slots([CPU] * 9, 8).environment(0)["OMP_NUM_THREADS"] == "3"
    for text, gpus in (("", ()), ("-1", ()), ("0, 3", ("0", "3")), ("GPU-a,GPU-b", ("GPU-a", "GPU-b"))):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
        assert visible_gpus() == gpus
