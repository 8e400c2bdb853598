"""Files changed at random are read, or refused in one sentence; `python tests/support/fuzzing.py` changes thousands."""

from pathlib import Path

import pytest

from support.fuzzing import fuzz, journeys, make_corpus
from support.tiny_run import compare_quickly, plant_judge


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    with pytest.MonkeyPatch.context() as patch:
        plant_judge(patch)
        compare_quickly(patch)
        make_corpus(folder)
    return folder


@pytest.mark.slow
def test_a_changed_file_is_read_or_refused_in_one_sentence(corpus: Path) -> None:
    faults = fuzz(corpus, journeys(), count=60, seed=0)
    assert not faults, "\n".join(f"seed {f.seed}, {f.journey}: {f.change}\n{f.trace}" for f in faults)
