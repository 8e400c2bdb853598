"""The doctor's hours: those of a machine that does nothing else, said as what they are."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hneurons.cli.doctor import Cost, Wanted, _Watch, state_verdict


def watched(device: str, seconds: float) -> tuple[_Watch, float]:
    model: Any = SimpleNamespace(device=torch.device(device))
    watch = _Watch(model)
    _, own = watch.time(lambda: time.sleep(seconds))
    return watch, own


def test_waiting_for_a_busy_processor_is_not_counted_but_waiting_for_an_accelerator_is() -> None:
    watch, own = watched("cpu", 0.1)  # as long as somebody else has the processor
    assert own < 0.05 and watch.wall >= 0.1
    assert watched("cuda", 0.05)[1] >= 0.05


@pytest.mark.parametrize(("slowdown", "busy"), [(1.0, False), (1.2, False), (2.04, True)])
def test_the_verdict_says_where_its_hours_come_from_and_what_they_leave_out(slowdown: float, busy: bool) -> None:
    said = state_verdict([], Cost(2.0, 0.5, 10**9, 10**9, slowdown), Wanted(), device="cpu", free=10**11)
    assert "take up to 2.0 hours" in said and "30 minutes, by 64 answers that were timed just now" in said
    assert "Fitting and evaluating are not counted" in said
    assert ("2.0 times as long" in said) == busy
