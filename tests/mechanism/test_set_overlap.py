"""Overlap of neuron sets: planted overlaps, chance, probabilities from half-samples, and the gate's exit codes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

from hneurons.cli.app import app
from hneurons.core.errors import ArtifactError, HNeuronsError, InputError, NotEnoughDataError
from hneurons.core.types import ModelIdentity
from hneurons.detection.fitting import Candidate, fit_detector
from hneurons.mechanism.overlap_null import Fit, OverlapNull, permute_overlap
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
    assert found.uniform == 5 * 4 / 400 and not found.same_weights
    assert np.isnan(found.p) and np.isnan(found.expected) and found.permutations == 0
    null = compare_sets(make_set([1, 2, 3, 4, 399]), make_set([2, 3, 4, 50]), null=OverlapNull((0, 3, 1, 4), 7))
    assert (null.expected, null.p, null.permutations, null.shared_questions) == (2.0, 3 / 5, 4, 7)


class EightNeurons:
    """The sparsest point with eight H-neurons."""

    settings: ClassVar[dict[str, Any]] = {"by": "number"}

    def choose(self, candidates: Sequence[Candidate], out: Path | None) -> tuple[int, dict[str, Any]]:
        return next((i for i, c in enumerate(candidates) if len(c.neurons) >= 8), len(candidates) - 1), {}


def noise_fits(seed: int) -> tuple[Fit, Fit]:
    """Two fits, on raw columns of sizes between 0.01 and 3, to labels that mean nothing and other questions."""
    fits = []
    for number in range(2):
        found = make_dataset(60, shape=(1, 120), seed=100 * seed + number, prefix=f"{number}-").contributions
        assert found.values is not None
        found = replace(found, values=(np.geomspace(0.01, 3, 120) * found.values).astype(np.float16))
        fits.append(Fit(fit_detector(found, columns="raw", choice=EightNeurons(), subsamples=0), found))
    return fits[0], fits[1]


@pytest.mark.slow
def test_overlap_of_fits_to_noise_is_rarely_called_significant() -> None:
    """Raw columns select the largest whatever the labels: uniform draws call many an overlap of noise significant."""
    from scipy.stats import hypergeom

    small, uniform, runs = 0, 0, 3
    for seed in range(runs):
        a, b = noise_fits(seed)
        found = compare_sets(
            a.detector.neuron_set(), b.detector.neuron_set(), null=permute_overlap(a, b, draws=20, seed=seed)
        )
        small += found.p < 0.05
        uniform += hypergeom.sf(found.shared - 1, found.total, found.size_a, found.size_b) < 0.05
    assert uniform >= 2 and small <= 1


@pytest.mark.slow
def test_neurons_that_both_fits_found_are_more_than_permuted_labels_share() -> None:
    fits = []
    for number in range(2):
        data = make_dataset(100, planted={(0, 7): 3.0, (2, 31): 3.0}, seed=number, prefix=f"{number}-").contributions
        fits.append(Fit(fit_detector(data, subsamples=0, C=0.03), data))
    null = permute_overlap(*fits, draws=19)
    found = compare_sets(*(fit.detector.neuron_set() for fit in fits), null=null)
    assert found.shared >= 2 and found.p == 1 / 20 and found.shared_questions == 0
    assert permute_overlap(*fits, draws=3) == (null.shared[:3], 0)


def test_questions_of_both_fits_are_counted_and_have_one_label() -> None:
    data = make_dataset(60, planted={(0, 7): 2.0}).contributions
    fit = Fit(fit_detector(data, subsamples=0, C=0.2), data)
    null = permute_overlap(fit, fit, draws=5)
    assert null == ((len(fit.detector.neuron_set()),) * 5, 60)
    with pytest.raises(InputError, match="was not fitted on the contributions beside it"):
        permute_overlap(fit, Fit(fit.detector, make_dataset(60, seed=1).contributions))


def test_equal_sets_do_not_drift_and_disjoint_ones_drift_wholly() -> None:
    same = compare_sets(make_set([5, 6, 7], [0.9, 0.5, 0.1]), make_set([5, 6, 7], [0.9, 0.5, 0.1]))
    assert (same.drift, same.overlap, same.correlation, same.same_weights) == (0.0, 1.0, pytest.approx(1.0), True)
    apart = compare_sets(make_set([1, 2]), make_set([3, 4]))
    assert (apart.drift, apart.overlap) == (1.0, 0.0)
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
    with pytest.raises(ArtifactError, match="run the command that made it again"):
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
