"""Overlap of neuron sets: planted overlaps, chance, probabilities from half-samples, and the gate's exit codes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hneurons.cli.app import app
from hneurons.core.errors import ArtifactError, HNeuronsError, InputError, NotEnoughDataError
from hneurons.core.types import ModelIdentity
from hneurons.detection.fitting import fit_detector
from hneurons.mechanism.set_overlap import compare_sets, read_probabilities
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.sparse.stability import select_stability
from support.planted import make_dataset

IDENTITY = ModelIdentity("m", "llama", 4, 100, 32, "c", "t", "w")
OTHER = replace(IDENTITY, name="n", weights="v")


def make_set(
    columns: list[int], probability: list[float] | None = None, identity: ModelIdentity = IDENTITY
) -> NeuronSet:
    weights = np.arange(len(columns), 0, -1, dtype=np.float64)
    return NeuronSet.from_columns(
        identity,
        np.array(columns, dtype=np.int64),
        weights,
        data={},
        selection_probability=None if probability is None else np.array(probability),
    )


def test_overlap_is_counted_and_weighed_against_chance() -> None:
    found = compare_sets(make_set([1, 2, 3, 4, 399]), make_set([2, 3, 4, 50], identity=OTHER))
    assert (found.size_a, found.size_b, found.shared, found.total) == (5, 4, 3, 400)
    assert found.jaccard == 3 / 6 and found.drift == 0.5 and found.overlap == 3 / 4
    assert found.expected == 5 * 4 / 400 and not found.same_weights
    counts = [len(set(np.random.default_rng(s).choice(400, 5, replace=False)) & {2, 3, 4, 50}) for s in range(3000)]
    assert found.p < 1e-4 and max(counts) < 3
    one = compare_sets(make_set([1, 2, 3, 4, 399]), make_set([4, 50, 51, 52])).p
    assert one == pytest.approx(np.mean(np.array(counts) >= 1), abs=0.01)


def test_equal_sets_do_not_drift_and_disjoint_ones_drift_wholly() -> None:
    same = compare_sets(make_set([5, 6, 7], [0.9, 0.5, 0.1]), make_set([5, 6, 7], [0.9, 0.5, 0.1]))
    assert (same.drift, same.overlap, same.correlation, same.same_weights) == (0.0, 1.0, pytest.approx(1.0), True)
    apart = compare_sets(make_set([1, 2]), make_set([3, 4]))
    assert (apart.drift, apart.overlap, apart.p) == (1.0, 0.0, 1.0)
    empty = compare_sets(make_set([1]), make_set([]))
    assert empty.drift == 1.0 and np.isnan(empty.overlap) and np.isnan(empty.correlation)
    with pytest.raises(NotEnoughDataError, match="neither set holds a neuron"):
        compare_sets(make_set([]), make_set([]))


def test_probabilities_are_correlated_and_weights_where_there_are_none() -> None:
    a, b = make_set([1, 2, 3, 4], [0.9, 0.7, 0.5, 0.3]), make_set([1, 2, 3, 4], [0.3, 0.5, 0.7, 0.9])
    found = compare_sets(a, b)
    assert (found.compared, found.correlation) == ("selection probabilities", pytest.approx(-1.0))
    assert compare_sets(a, make_set([1, 2, 3, 4])).compared == "weights"
    known = ({1: 0.9, 2: 0.7, 3: 0.5, 4: 0.3, 9: 0.1}, {1: 0.8, 2: 0.6, 3: 0.4, 4: 0.2, 9: 0.1})
    assert compare_sets(a, make_set([1, 9]), probabilities=known).correlation == pytest.approx(1.0)


@pytest.mark.parametrize("field", ("architecture", "layers", "neurons", "hidden_size"))
def test_sets_of_other_models_are_refused_by_what_differs(field: str) -> None:
    other = replace(IDENTITY, **{field: "qwen2" if field == "architecture" else 77})
    with pytest.raises(InputError, match=field.replace("_", " ")):
        compare_sets(make_set([1]), make_set([1], identity=other))


def test_selection_probabilities_are_read_from_the_half_samples_beside_a_detector(tmp_path: Path) -> None:
    data = make_dataset(60, planted={(0, 7): 2.0, (1, 3): 1.0}).contributions
    detector = fit_detector(data, subsamples=6, out=tmp_path)
    found = read_probabilities(tmp_path)
    assert found is not None
    for column, probability in zip(detector.columns, detector.selection_probability, strict=True):
        assert found.get(int(column), 0.0) == pytest.approx(probability)
    assert len(found) > len(detector.columns)
    stability = select_stability(
        data.matrix([i for i, r in enumerate(data.rows) if r["region"] == "answer"]),
        [r["hallucinated"] for r in data.rows if r["region"] == "answer"],
        [r["question_id"] for r in data.rows if r["region"] == "answer"],
        n_subsamples=6,
        out=tmp_path / "again" / "stability",
    )
    detector.save(tmp_path / "again")
    again = read_probabilities(tmp_path / "again")
    assert again == dict(zip(stability.columns.tolist(), stability.probability.tolist(), strict=True))
    (tmp_path / "stability" / "state.safetensors").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="run 'fit' again"):
        read_probabilities(tmp_path)
    make_set([1]).save(tmp_path / "alone")
    assert read_probabilities(tmp_path / "alone") is None


def test_the_gate_passes_fails_and_refuses(tmp_path: Path) -> None:
    make_set([1, 2, 3, 4]).save(tmp_path / "a")
    make_set([1, 2, 3, 50], identity=OTHER).save(tmp_path / "run" / "detector")
    make_set([1], identity=replace(IDENTITY, layers=9)).save(tmp_path / "other")
    runner, pair = CliRunner(), [str(tmp_path / "a"), str(tmp_path / "run")]
    passed = runner.invoke(app, ["drift", *pair, "--max", "0.5", "--json"])
    assert passed.exit_code == 0
    row = json.loads(passed.stdout)
    assert (row["shared"], row["jaccard"], row["drift"], row["correlation"] is None) == (3, 0.6, 0.4, False)
    assert "Jaccard" in runner.invoke(app, ["drift", *pair]).stdout
    failed = runner.invoke(app, ["drift", *pair, "--max", "0.3"])
    assert isinstance(failed.exception, HNeuronsError) and failed.exception.exit_code == 1
    assert "differ by 0.400 (1 - Jaccard), more than the 0.3" in str(failed.exception)
    for arguments, said in (
        ([pair[0], str(tmp_path / "other")], "layers: 4 against 9"),
        ([pair[0], str(tmp_path / "nothing")], "there is no folder"),
    ):
        refused = runner.invoke(app, ["drift", *arguments])
        assert isinstance(refused.exception, InputError) and said in str(refused.exception)
        assert refused.exception.exit_code == 2
    assert runner.invoke(app, ["drift", *pair, "--max", "1.5"]).exit_code == 2
