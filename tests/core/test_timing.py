"""What work took: added up over calls, forgotten where a stage begins anew, and never in the way of results."""

import math
import time
from pathlib import Path

import pytest

from hneurons.core.timing import TIMING, Clock, Spent, read_timing


def test_time_and_passes_add_up_over_calls_of_a_stage(tmp_path: Path) -> None:
    clock = Clock(tmp_path, done=0)
    with clock.time("states", 4, passes=4):
        time.sleep(0.02)
    clock.save()
    first = read_timing(tmp_path)["states"]
    assert first.items == first.passes == 4 and 5 <= first.milliseconds < 500
    again = Clock(tmp_path, done=1)
    again.add("states", 1.0, 6, 6)
    again.add("other", 0.0, 0.0, 3)
    again.save()
    found = read_timing(tmp_path)
    assert found["states"] == Spent(first.seconds + 1.0, 10, 10) and math.isnan(found["other"].milliseconds)
    assert Clock(tmp_path, done=0).spent == {}


def test_work_that_fails_is_not_counted_and_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    clock = Clock(None, done=0)
    with pytest.raises(KeyboardInterrupt), clock.time("states", 4):
        raise KeyboardInterrupt
    clock.add("states", 2.0, 4, 4)
    clock.save()
    assert clock.spent == {"states": Spent(2.0, 4, 4)} and not list(tmp_path.iterdir())


def test_a_damaged_file_of_times_is_as_none(tmp_path: Path) -> None:
    clock = Clock(tmp_path, done=0)
    clock.add("states", 2.0, 4, 4)
    clock.save()
    path = tmp_path / TIMING
    path.write_text(path.read_text().replace("2.0", "1.0"))
    assert read_timing(tmp_path) == {} == read_timing(tmp_path / "none")
