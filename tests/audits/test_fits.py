"""Leakage, stability and geometry on planted data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hneurons.audits import AuditResult, Finding, Run, audit_geometry, audit_leakage, audit_stability, make_run
from hneurons.audits.geometry import rank_correlation
from hneurons.audits.leakage import _same_printed
from hneurons.audits.own_fit import measure_neurons, path_points, record_fit
from hneurons.audits.penalty_path import trace_neurons
from hneurons.core.errors import InputError
from hneurons.core.stats import auroc
from hneurons.detection.answer_rows import Dataset, answer_rows
from hneurons.detection.detector import Detector
from hneurons.detection.fitting import fit_detector
from hneurons.records.record import Condition, RunSettings
from hneurons.records.rows import NeuronRow, PathPoint
from support.planted import make_dataset


def finding(result: AuditResult, text: str) -> Finding:
    (found,) = [f for f in result.findings if text in f.claim]
    return found


def predictions(name: str, ids: range, skill: dict[int, float], *, shift: float = 0.0) -> Run:
    rows = []
    for item in ids:
        rng = np.random.default_rng(item)
        label = item % 2
        score = rng.normal() + skill.get(item, 0.8) * (2 * label - 1) + shift
        p = float(1 / (1 + np.exp(-score)))
        rows.append({"id": str(item), "label": label, "probability": p, "prediction": int(p > 0.5)})
    return make_run(name, RunSettings("toy", kind="predictions"), rows)


@pytest.mark.slow
def test_items_that_were_in_the_fit_show_by_their_scores() -> None:
    seen = {item: 2.5 for item in range(400, 1000)}
    result = audit_leakage([predictions("clean", range(400), seen), predictions("mixed", range(1000), seen)])
    assert finding(result, "mixed was evaluated").verdict == "contradicted"
    honest = audit_leakage([predictions("clean", range(400), {}), predictions("mixed", range(1000), {})])
    assert finding(honest, "mixed was evaluated").verdict == "supported"


def test_a_threshold_that_does_not_fit_is_found() -> None:
    assert (
        finding(audit_leakage([predictions("off", range(500), {}, shift=2.0)]), "threshold").verdict == "contradicted"
    )


@pytest.mark.slow
def test_a_tuning_score_equal_to_the_evaluation_is_selection_on_the_test_split() -> None:
    run = predictions("test", range(777), {})
    accuracy = np.mean([row.label == row.prediction for row in run.rows])  # type: ignore[union-attr]
    tried = [{"name": f"C={k}", "score": s} for k, s in enumerate((0.51, round(float(accuracy), 3)))]
    sweep = make_run("sweep", RunSettings("toy", kind="candidates"), tried)
    assert finding(audit_leakage([run, sweep]), "sweep were not chosen").verdict == "contradicted"
    other = make_run("sweep", RunSettings("toy", kind="candidates"), [{"name": "C=1", "score": 0.5123}])
    assert not [f for f in audit_leakage([run, other]).findings if "chosen" in f.claim]


@pytest.mark.parametrize(
    ("printed", "value", "same"),
    [(0.765, 0.76538, True), (0.765, 0.7656, False), (0.77, 0.7701, False), (0.222222, 18 / 81, True)],
)
def test_printed_scores_match_to_their_digits(printed: float, value: float, same: bool) -> None:
    assert _same_printed(printed, value) is same


def outputs(no_op: float, same_at: float) -> Run:
    rows = [
        {"id": str(i), "condition": c, "alpha": a, "outcome": 0, "response": f"{i}" if a == same_at else f"{i}{c}{a}"}
        for i in range(30) for c in ("a", "b") for a in (0.0, 1.0, 3.0)
    ]  # fmt: skip
    conditions = {"a": Condition("selected"), "b": Condition("random")}
    return make_run("run", RunSettings("toy", no_op=no_op, conditions=conditions), rows)


def test_two_conditions_with_identical_outputs_are_found() -> None:
    assert finding(audit_leakage([outputs(1.0, 1.0)]), "identical outputs").verdict == "supported"
    mixed = audit_leakage([outputs(1.0, 3.0)])
    assert finding(mixed, "identical outputs").verdict == "contradicted"


def test_a_no_op_that_is_declared_wrongly_is_found() -> None:
    found = finding(audit_leakage([outputs(1.0, 0.0)]), "The declared no-op")
    assert found.verdict == "contradicted" and "coincide at alpha 0" in found.evidence


def test_a_neuron_of_one_penalty_is_no_top_neuron() -> None:
    weights = np.array([[0.0, 1.0, 0.0], [0.0, 2.0, 0.5], [9.0, 3.0, -1.0], [0.0, 4.0, 0.0]])
    points = path_points([0.1, 1.0, 10.0, 100.0], weights, np.array([1, 2, 3]), np.array([10, 20, 30]), [0.5] * 4)
    ranks = {(t.layer, t.neuron): t.ranks for t in trace_neurons(points)}
    assert ranks[(1, 10)] == {0.1: None, 1.0: None, 10.0: 1, 100.0: None}
    assert ranks[(2, 20)] == {0.1: 1, 1.0: 1, 10.0: 2, 100.0: 1}
    rows = [{name: getattr(p, name) for name in p.__slots__} for p in points]
    result = audit_stability([make_run("path", RunSettings("toy", kind="penalty_path"), rows)])
    assert finding(result, "L1N10 is a top").verdict == "contradicted"
    assert finding(result, "L2N20 is a top").verdict == "supported"


def test_the_planted_neuron_is_the_one_that_carries_the_detector() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    features = rng.normal(size=(600, 3))
    features[:, 1] += 2 * labels - 1
    features[:, 2] = features[:, 0] + 0.1 * rng.normal(size=600)
    weights = np.array([0.1, 2.0, 0.1])
    rows = measure_neurons(features, labels, weights, 0.0, np.array([0, 1, 2]), np.array([5, 6, 7]))
    assert [row.rank for row in rows] == [2, 1, 3]
    assert rows[1].auroc is not None and rows[1].auroc > 0.85 and (rows[1].ablation_drop or 0) > 0.2
    assert abs(rows[0].ablation_drop or 0) < 0.02 and (rows[0].max_correlation or 0) > 0.98


@pytest.fixture(scope="module")
def fitted() -> tuple[Dataset, Dataset, Detector]:
    planted = {(0, 7): 2.0, (2, 31): 1.5}
    train, test = make_dataset(120, planted=planted), make_dataset(80, planted=planted, prefix="t", seed=50)
    return train, test, fit_detector(train.contributions, subsamples=0)


def test_our_own_detector_is_audited_from_its_path_and_neurons(fitted: tuple[Dataset, Dataset, Detector]) -> None:
    train, test, detector = fitted
    runs = record_fit("mine", detector, train, {"new": test})
    points, rows = runs[0].of(PathPoint), runs[1].of(NeuronRow)
    chosen = detector.settings["C"]
    at = {(p.layer, p.neuron): p.weight for p in points if p.penalty == pytest.approx(chosen) and p.weight}
    own = np.divmod(detector.columns, 40)
    weights = dict(zip(zip(own[0].tolist(), own[1].tolist(), strict=True), detector.coef * detector.scale, strict=True))
    assert at == pytest.approx(weights, rel=1e-3)
    assert len({p.penalty for p in points}) == len(detector.settings["path"])
    assert {(r.layer, r.neuron, r.condition) for r in rows} == {(i, j, "new") for i, j in weights}
    top = next(r for r in rows if (r.layer, r.neuron) == (0, 7))
    assert (top.auroc or 0) > 0.8 and top.rank == 1
    answers = answer_rows(test, "new").matrix.gather(np.array([7]), 1 << 20)[0]
    assert top.auroc == pytest.approx(auroc(answer_rows(test, "new").labels, answers))
    result = audit_stability(runs)
    assert finding(result, "L0N7 is a top neuron").verdict == "supported"
    assert finding(result, "The neuron of largest weight carries").verdict == "supported"


def test_a_detector_of_other_contributions_has_no_path_to_trace(fitted: tuple[Dataset, Dataset, Detector]) -> None:
    _, test, detector = fitted
    with pytest.raises(InputError, match="was not fitted on the contributions beside it"):
        record_fit("mine", detector, make_dataset(120, seed=1), {"new": test})


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=4, max_size=30))
def test_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    from scipy.stats import spearmanr

    first, second = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    if len(set(first)) > 1 and len(set(second)) > 1:
        assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)


def test_rounding_error_breaks_no_tie() -> None:
    effect = np.array([0.0, -2e-16, 0.0, -0.0, 0.5, -0.5])
    overlap = np.array([3.0, 1.0, 2.0, 4.0, 6.0, 5.0])
    clean = np.array([0.0, 0.0, 0.0, 0.0, 0.5, -0.5])
    assert rank_correlation(overlap, effect) == rank_correlation(overlap, clean)
    assert rank_correlation(overlap, effect, digits=None) != rank_correlation(overlap, clean, digits=None)


def test_one_dominant_layer_and_broken_ties_are_found() -> None:
    layers = [
        {"layer": k, "n_neurons": 1, "signed_cosine": 0.0, "signed_null_mean": 0.0, "signed_null_p95": 0.1,
         "subspace": 0.7 if k == 9 else 0.01, "subspace_null_mean": 0.0, "subspace_null_p95": 0.02}
        for k in range(10)
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    items = [
        {"id": str(i), "benchmark": "b", "signed_cosine": rng.normal(), "subspace": rng.random(), "group": str(i % 2),
         "effect": -2e-16 if i < 3 else float(rng.integers(-1, 2))}
        for i in range(120)
    ]  # fmt: skip
    result = audit_geometry([
        make_run("layers", RunSettings("toy", kind="layer_overlap"), layers),
        make_run("items", RunSettings("toy", kind="item_overlap"), items),
    ])  # fmt: skip
    assert "Layer 9" in finding(result, "spread over layers").evidence
    assert finding(result, "spread over layers").verdict == "contradicted"
    assert finding(result, "equal numbers").verdict == "contradicted"
