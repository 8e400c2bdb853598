"""What the neurons add: planted signals go to the family that has them, and noise is called nothing."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hneurons.core.errors import InputError
from hneurons.core.stats import auroc, bootstrap_aurocs
from hneurons.core.timing import Spent
from hneurons.core.types import Judgement, Question, Response
from hneurons.detection.answer_rows import Dataset, answer_rows
from hneurons.detection.detector import Detector
from hneurons.detection.evaluation import DETECTOR
from hneurons.detection.fitting import fit_detector
from hneurons.detection.ridge import fit_ridge, products_of
from hneurons.detection.rivals.added import area_within, correct_holm, partial_correlation, two_sided
from hneurons.detection.rivals.compare import compare_rivals, load_rivals
from hneurons.detection.rivals.curve import redundancy_curve
from hneurons.detection.rivals.kinds import wrong_kinds
from hneurons.detection.rivals.natural import Drawn, count_drawn, natural_weights, score_natural
from hneurons.detection.rivals.parts import Parts
from hneurons.detection.rivals.refits import refit_detector, refitted_intervals
from hneurons.detection.rivals.results import Comparison
from hneurons.detection.scores import score_answers, scored
from hneurons.detection.scores.score import SCORES
from support.planted import make_dataset, plant_states, read_tree

NEURONS = {(0, 7): 3.0, (1, 3): 3.0}


def make(n: int, *, neurons: bool, confidence: bool, prefix: str = "", seed: int = 0) -> Dataset:
    """Answers whose class can be told by neurons, by log-probabilities, by both or by neither."""
    data = make_dataset(n, planted=NEURONS if neurons else None, prefix=prefix, seed=seed)
    rng = np.random.default_rng([seed, 9])
    examples = []
    for example in data.examples:
        mean = -1.0 - (0.8 if confidence and example.hallucinated else 0.0)
        logprobs = tuple(float(v) for v in mean + 0.4 * rng.normal(size=3))
        examples.append(replace(example, response=replace(example.response, logprobs=logprobs)))
    return plant_states(data._replace(examples=examples), strength=0.0, seed=seed)


def compare(train: Dataset, test: Dataset, *, refits: int = 0, out: Path | None = None) -> Comparison:
    detector = fit_detector(train.contributions, C=0.1, subsamples=0)
    scores = {"new": score_answers(train, test, name="new", out=out and out / "scores")}
    return compare_rivals(detector, train, {"new": test}, scores, refits=refits, draws=2, out=out)["new"]


@pytest.mark.slow
@pytest.mark.parametrize(("neurons", "confidence"), [(True, False), (False, True), (True, True)])
def test_a_planted_signal_is_attributed_to_the_family_that_has_it(neurons: bool, confidence: bool) -> None:
    train = make(140, neurons=neurons, confidence=confidence)
    found = compare(train, make(120, neurons=neurons, confidence=confidence, prefix="t", seed=3))
    areas = {rival.method: rival.auroc.value for rival in found.rivals}
    assert (areas[DETECTOR] > 0.8) is neurons
    assert (areas["mean log-probability"] > 0.8) is confidence
    alone = found.stacks[0]
    assert alone.name == "confidence" and (alone.without.low > 0.7) is confidence
    assert (alone.added.low > 0 and alone.saved.low > 0) is neurons
    assert found.reading.startswith("The neurons add nothing") is not neurons
    assert (found.partial.low > 0) is neurons and (found.within["confidence"].low > 0.6) is neurons


@pytest.mark.slow
def test_a_comparison_is_kept_read_again_and_names_everything(tmp_path: Path) -> None:
    train, test = make(80, neurons=True, confidence=True), make(60, neurons=True, confidence=True, prefix="t", seed=3)
    test = test._replace(spent={"states": Spent(6.3, 60, 60)})
    found = compare(train, test, refits=4, out=tmp_path)
    before = read_tree(tmp_path)
    assert load_rivals(tmp_path)["new"] == compare(train, test, refits=4, out=tmp_path)
    assert read_tree(tmp_path) == before
    named = {rival.method: rival for rival in found.rivals}
    assert named[DETECTOR].ahead is None and named["answer length"].ahead is not None
    assert named[DETECTOR].refitted is not None and named["all neurons, ridge"].refitted is not None
    assert named["perplexity"].milliseconds < 100 < 105 < named["residual probe"].milliseconds
    assert np.isnan(named["all neurons, ridge"].milliseconds) and named["residual probe"].passes == 1
    for name in ("Mahalanobis distance", "SAPLMA", "residual probe, before the answer"):
        assert named[name].refitted is not None
    assert named["perplexity"].refitted is None and named["residual probe"].bytes == 2 * 8
    assert all(rival.p_holm >= rival.p for rival in found.rivals[1:])
    assert "fewer than 2 other samples" in found.left_out["semantic entropy"]
    with pytest.raises(InputError, match="the scores of 'new' are of other answers"):
        scores = replace(score_answers(train, test), ids=())
        compare_rivals(fit_detector(train.contributions, C=0.1, subsamples=0), train, {"new": test}, {"new": scores})


@pytest.mark.slow
@pytest.mark.parametrize("crash_at", [0, 1, 7, -1])
def test_a_comparison_that_is_killed_goes_on_with_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    train, test = make(50, neurons=True, confidence=True), make(40, neurons=True, confidence=True, prefix="t", seed=3)
    detector = fit_detector(train.contributions, C=0.1, subsamples=0)
    chosen = {"mean log-probability", "perplexity", "all neurons, ridge", "answer length", "residual probe"}
    monkeypatch.setattr(SCORES, "_items", {name: SCORES.get(name) for name in chosen})
    scores = {"new": score_answers(train, test, name="new")}

    def run(out: Path) -> Comparison:
        return compare_rivals(detector, train, {"new": test}, scores, refits=3, draws=1, out=out)["new"]

    made: list[str] = []
    original = Parts.get

    def watch(self: Parts, name: str, kind: type, make: Callable[[], object]) -> object:
        def stop() -> object:
            made.append(name)
            if stopping and len(made) == (8 if crash_at < 0 else crash_at + 1):
                raise KeyboardInterrupt
            return make()

        return original(self, name, kind, stop)

    monkeypatch.setattr(Parts, "get", watch)
    stopping = False
    whole = run(tmp_path / "whole")
    names, stopping = list(made), True
    assert len(names) == 8 and names[0] == "curve" and names[-1] == "comparison on new"
    made.clear()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut")
    finished, stopping = made[:-1], False
    made.clear()
    assert run(tmp_path / "cut") == whole == load_rivals(tmp_path / "whole")["new"]
    assert made == names[len(finished) :]
    assert read_tree(tmp_path / "cut") == read_tree(tmp_path / "whole")
    assert not (tmp_path / "cut" / "parts").exists()


def test_a_refit_on_every_question_once_is_the_detector() -> None:
    train = make(80, neurons=True, confidence=False)
    test = answer_rows(make(40, neurons=True, confidence=False, prefix="t", seed=3), "new")
    detector = fit_detector(train.contributions, C=0.1, subsamples=0)
    counts = [Counter({e.question.group: times for e in train.examples}) for times in (1, 2)]
    found = refit_detector(detector, train.contributions, [test], counts)
    assert found is not None
    positive = detector.coef > 0
    columns = test.matrix.gather(detector.columns[positive], 1 << 20)
    for (values,) in found:
        np.testing.assert_allclose(values.detector, detector.decide(test.matrix), atol=5e-2)
        np.testing.assert_allclose(values.positive, detector.coef[positive] @ columns, atol=5e-2)
    assert refit_detector(replace(detector, data={}), train.contributions, [test], counts) is None


def test_few_refits_have_more_draws_each_and_every_interval_holds_what_was_found() -> None:
    rows = answer_rows(make(60, neurons=True, confidence=True), "new")
    rng = np.random.default_rng(0)
    near = [rows.labels + rng.normal(size=60) for _ in range(10)]
    points = {"many": 0.75, "few": 0.76}
    found = refitted_intervals({"many": near, "few": near[:2]}, rows, points)
    assert {name: area.value for name, area in found.items()} == points
    assert all(area.low < area.value < area.high for area in found.values())
    assert found["many"] == refitted_intervals({"many": near}, rows, points)["many"]


def test_the_curve_ends_at_ridge_on_all_neurons_and_holds_none_of_the_detectors() -> None:
    train, test = make(80, neurons=True, confidence=False), make(60, neurons=True, confidence=False, prefix="t", seed=3)
    rows = answer_rows(train, "train"), answer_rows(test, "new")
    without = np.array([7, 43])  # where the signal is
    (points,) = redundancy_curve(rows[0], [rows[1]], without=without, draws=3)
    assert [point.neurons for point in points] == [10, 30, 100, 120]
    assert all(abs(point.mean - 0.5) < 0.15 for point in points[:-1]) and points[-1].mean > 0.8
    products = products_of(rows[0].matrix, [rows[1].matrix])
    ridge = fit_ridge(products.train, rows[0].labels, rows[0].groups)
    assert points[-1].mean == pytest.approx(auroc(rows[1].labels, ridge.decide(products.tests[0])))


def test_natural_weights_are_those_of_rows_repeated_as_often_as_they_stand_for() -> None:
    rows = answer_rows(make(40, neurons=True, confidence=True), "new")
    values = np.array([float(np.mean(e.response.logprobs)) for e in rows.examples]) * -1
    drawn = Drawn(Counter({("", True): 60, ("", False): 20, ("other", True): 20}), 5)
    weights, uncovered = natural_weights(rows, drawn)
    assert set(weights[rows.labels]) == {3.0} and set(weights[~rows.labels]) == {1.0}
    assert uncovered == pytest.approx(0.2) and drawn.prevalence == pytest.approx(0.8)
    found = score_natural(values, rows, weights)
    assert found.auroc.value == pytest.approx(auroc(rows.labels, values))  # one stratum: AUROC knows no prevalence
    assert 0 <= found.brier <= 0.25 and 0 <= found.calibration_error <= 1 and found.average_precision > 0.75


def test_what_was_drawn_counts_first_whole_answers_and_abstentions_apart() -> None:
    questions = [Question(f"q{i}", "?", ("a",), relation="r") for i in range(4)]
    responses = [Response(f"q{i}", s, "x", finish_reason="length" if i == 3 else "stop")
                 for i in range(4) for s in (0, 1)]  # fmt: skip
    verdicts = ("correct", "incorrect", "abstained", "correct")
    judged = [Judgement(r.question_id, r.sample, verdicts[int(r.question_id[1])]) for r in responses]  # type: ignore[arg-type]
    assert count_drawn(questions, responses, judged) == (Counter({("r", False): 1, ("r", True): 1}), 1)


def test_kinds_of_wrong_answers_are_told_by_their_samples_and_confidence() -> None:
    rows = answer_rows(make(12, neurons=False, confidence=False), "new")
    texts = [e.response.text if n % 4 < 2 else f"other {n}" for n, e in enumerate(rows.examples)]
    samples = [[Response(e.question.id, s, text) for s in (1, 2)] for e, text in zip(rows.examples, texts, strict=True)]
    found = wrong_kinds(rows._replace(samples=samples))
    same = np.array([n % 4 < 2 for n in range(12)])
    assert np.array_equal(found["consistent"], same & rows.labels)
    assert np.array_equal(found["varied"], ~same & rows.labels)
    assert (found.get("confident", 0) + found["unsure"] == rows.labels).all() and "invented" not in found


def test_holm_corrects_the_least_most_and_keeps_the_order() -> None:
    found = correct_holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})


def test_a_partial_correlation_of_few_answers_stays_between_its_bounds() -> None:
    for seed in range(4):
        rows = answer_rows(make(6, neurons=True, confidence=True, seed=seed), "few")
        found = partial_correlation(rows, np.random.default_rng(seed).normal(size=len(rows.labels)))
        assert -1 - 1e-9 <= found.low <= found.high <= 1 + 1e-9


def test_a_signal_that_is_only_the_stratum_is_nothing_within_it() -> None:
    rng = np.random.default_rng(0)
    strata = [f"s{i % 4}" for i in range(200)]
    labels = rng.random(200) < np.array([0.2 + 0.2 * (i % 4) for i in range(200)])
    values = np.array([float(s[1]) for s in strata]) + 0.01 * rng.normal(size=200)
    groups = [str(i) for i in range(200)]
    assert auroc(labels, values) > 0.65
    pairs = [(i, j) for i in range(200) for j in range(200) if labels[i] > labels[j] and strata[i] == strata[j]]
    won = np.mean([float(values[i] > values[j]) for i, j in pairs])
    assert area_within(labels, values, strata, groups).value == pytest.approx(won)
    assert abs(area_within(labels, values, strata, groups).value - 0.5) < 0.1


@pytest.mark.slow
def test_permuted_labels_give_one_half_and_no_rejection_beyond_the_nominal_rate() -> None:
    """Fifty seeds of six scores that know nothing: a family is rejected where any corrected p-value is below 0.05."""
    rejected, areas = 0, []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        labels, values = rng.random(150) < 0.5, rng.normal(size=(150, 7))
        values[:, 1:] += 0.8 * values[:, :1]
        draws = bootstrap_aurocs(labels, values, groups=[str(i) for i in range(150)], seed=seed)
        p = {str(k): two_sided(draws[:, 0] - draws[:, k]) for k in range(1, 7)}
        rejected += min(correct_holm(p).values()) < 0.05
        areas.append([auroc(labels, column) for column in values.T])
    assert rejected <= 6  # P(more than 6 of 50 at a true rate of 5%) = 1%
    assert abs(np.mean(areas) - 0.5) < 0.02


@pytest.mark.slow
def test_stacks_with_permuted_labels_add_nothing_more_often_than_the_nominal_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the one score besides the detector that the stacks read; the others are compared, not stacked."""
    monkeypatch.setattr(scored, "known_scores", lambda: iter([("residual probe", SCORES.get("residual probe"))]))
    said = 0
    for seed in range(50):
        train = make(60, neurons=False, confidence=False, seed=seed)
        test = make(60, neurons=False, confidence=False, prefix="t", seed=1000 + seed)
        detector: Detector = fit_detector(train.contributions, C=0.1, subsamples=0)
        scores = {"new": score_answers(train, test)}
        found = compare_rivals(detector, train, {"new": test}, scores, refits=0, draws=0)["new"]
        assert [stack.name for stack in found.stacks] == ["confidence", "confidence and residual probe"]
        said += not found.reading.startswith("The neurons add nothing")
    assert said <= 4  # nominal: 2.5% on the upper side; P(more than 4 of 50) = 0.8%
