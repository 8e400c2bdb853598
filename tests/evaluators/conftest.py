"""The harnesses take seconds to import, in every worker: `make fast` leaves their tests out."""

from pathlib import Path

import pytest

HARNESSES = ("test_inspect_ai.py", "test_lm_eval.py")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    fast = "not slow" in config.getoption("markexpr")
    return True if fast and collection_path.name in HARNESSES else None
