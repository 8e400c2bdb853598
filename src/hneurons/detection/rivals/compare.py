"""Stage `rivals`: the detector and every other score on the same rows, and what the neurons add to the others."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from hneurons.answers.responses import STAGE as SAMPLING
from hneurons.core.artifacts import FileStage, read_result
from hneurons.core.errors import OtherSettingsError
from hneurons.core.progress import progress
from hneurons.core.rows import dump_json, from_row, load_json
from hneurons.core.stats import Estimate, auroc, bootstrap_aurocs, bounded_interval
from hneurons.core.timing import Spent
from hneurons.detection.answer_rows import (
    AnswerRows,
    Dataset,
    Floats,
    answer_rows,
    check_both_classes,
    check_unseen,
)
from hneurons.detection.detector import Detector
from hneurons.detection.evaluation import DETECTOR
from hneurons.detection.fitting import training_rows
from hneurons.detection.penalty import Validated, validate_path
from hneurons.detection.rivals.added import (
    Values,
    areas_within,
    correct_holm,
    partial_correlation,
    read_added,
    stack_scores,
    two_sided,
)
from hneurons.detection.rivals.curve import redundancy_curve
from hneurons.detection.rivals.kinds import areas_by_kind, wrong_kinds
from hneurons.detection.rivals.natural import Drawn, natural_weights, score_natural
from hneurons.detection.rivals.parts import Parts
from hneurons.detection.rivals.refits import (
    refit_detector,
    refit_scores,
    refitted_intervals,
    resample_groups,
)
from hneurons.detection.rivals.results import Comparison, CurvePoint, Rival, Stack
from hneurons.detection.scores import SCORES, Scored, Scores, check_scores
from hneurons.detection.scores.residual import choose_state
from hneurons.neurons.contributions import STAGE as CONTRIBUTIONS

T = TypeVar("T")
STAGE, RESULT, VERSION = "rivals", "rivals.json", 2
POSITIVE = "H-neurons alone"
PROBE, RIDGE = "residual probe", "all neurons, ridge"
REFITS, FEW_REFITS = 50, 10


def compare_rivals(
    detector: Detector,
    train: Dataset,
    tests: Mapping[str, Dataset],
    scores: Mapping[str, Scores],
    *,
    drawn: Mapping[str, Drawn] | None = None,
    refits: int = REFITS,
    draws: int = 20,
    seed: int = 0,
    fitted_in: Path | None = None,
    out: Path | None = None,
) -> dict[str, Comparison]:
    """One `Comparison` a test set of both classes. Everything fitted is fitted on training questions alone.

    - `scores`: what `score_answers` gave for each test set.
    - `drawn`: what the first answers to a test set were before balancing (`count_drawn`), for natural prevalence.
    - `refits`: resamples of the training questions for the second interval; `draws`: random sets a size of the curve.
    - `fitted_in`: the detector's folder, where its cross-validation lies; without it that is done again.

    Raises `InputError` where scores are of other answers, or a test question was trained on, and `NotEnoughDataError`
    for a training set of one class.
    """
    settings = {"version": VERSION, "refits": refits, "draws": draws, "seed": seed}
    inputs = {"detector": detector.content, "train": train.contributions.content}
    inputs |= {f"scores of {name}": found.content for name, found in scores.items()}
    stage = FileStage(out, stage=STAGE, settings=settings, inputs=inputs, replace=True)
    if stage.complete and out is not None:
        return load_rivals(out)
    known = answer_rows(train, "train", detector=detector)
    check_both_classes(known, "train")
    new: dict[str, AnswerRows] = {}
    for name, data in tests.items():
        rows = answer_rows(data, name, detector=detector)
        check_unseen(known, rows, name)
        check_scores(scores[name], rows, name)
        if rows.labels.any() and not rows.labels.all():
            new[name] = rows
    held_out = _held_out(detector, train, fitted_in)
    counts = resample_groups(known.groups, refits, seed)
    expected = 2 + len(new) + sum(len(scores[name].methods) for name in new)
    parts = Parts(out, stage=STAGE, settings=settings, inputs=inputs, expected=expected)
    tested = list(new.values())
    with progress("rivals", expected, done=parts.store.done) as advance:

        def keep(name: str, kind: type[T], make: Callable[[], T]) -> T:
            there = name in parts.known
            value = parts.get(name, kind, make)
            advance(not there)
            return value

        curves = keep("curve", list[list[CurvePoint]], lambda: _curves(known, tested, detector, seed, draws))
        own = keep("refits of the detector", dict[str, dict[str, Estimate]],
                   lambda: _refit_own(detector, train, new, counts, seed) if refits else {})  # fmt: skip
        found = {}
        for number, (name, rows) in enumerate(new.items()):
            refitted = dict(own.get(name, {}))
            for one in scores[name].methods:
                refit = _Refit(one, known, rows, counts, seed)
                refitted |= keep(f"refits of {one.method} on {name}", dict[str, Estimate], refit.intervals)
            job = _Job(detector, known, rows, scores[name], held_out, refitted, seed)
            compare = partial(job.compare, name, curves[number], (drawn or {}).get(name))
            found[name] = keep(f"comparison on {name}", Comparison, compare)
    stage.finish({RESULT: dump_json(found) + b"\n"}, {"datasets": list(found)})
    parts.drop()
    return found


def _curves(
    train: AnswerRows, tests: Sequence[AnswerRows], detector: Detector, seed: int, draws: int
) -> list[list[CurvePoint]]:
    found = redundancy_curve(train, tests, without=detector.columns, seed=seed, draws=draws)
    return [list(points) for points in found]


def _refit_own(
    detector: Detector, train: Dataset, tests: Mapping[str, AnswerRows], counts: Sequence[Mapping[str, int]], seed: int
) -> dict[str, dict[str, Estimate]]:
    """The detector and its positive part on every test set, with intervals that include refitting."""
    again = refit_detector(detector, train.contributions, list(tests.values()), counts)
    if again is None:
        return {}
    found = {}
    for number, (name, rows) in enumerate(tests.items()):
        methods = own_values(detector, rows)
        values = {
            DETECTOR: [one[number].detector for one in again],
            POSITIVE: [one[number].positive for one in again],
        }
        known = {method: values[method] for method in methods}
        points = {method: auroc(rows.labels, found_values) for method, found_values in methods.items()}
        found[name] = refitted_intervals(known, rows, points, seed=seed)
    return found


def own_values(detector: Detector, test: AnswerRows) -> dict[str, Floats]:
    """Decision values of the detector and, where it has negative weights too, of its positive part alone."""
    found, positive = {DETECTOR: detector.decide(test.matrix)}, detector.coef > 0
    if positive.any() and not positive.all():
        columns = test.matrix.gather(detector.columns[positive], 1 << 28).astype(np.float64)
        found[POSITIVE] = detector.coef[positive] @ columns
    return found


def load_rivals(folder: Path) -> dict[str, Comparison]:
    """Read a finished `rivals` folder. Raises `InputError` for another one, `ArtifactError` for a damaged one."""
    return read_result(
        folder, RESULT, lambda data: from_row(dict[str, Comparison], load_json(data)), stage=STAGE, verb="scores"
    )


def _held_out(detector: Detector, train: Dataset, fitted_in: Path | None) -> Floats | None:
    """The detector's decision values of training answers, each by a fit without its fold, in the order of their ids.

    None where the detector was not fitted on these contributions.
    """
    settings = detector.settings
    if detector.data.get("contributions") != train.contributions.content or "path" not in settings:
        return None
    rows = training_rows(train.contributions, settings["labels"])
    fixed = settings["C"] if len(settings["path"]) == 1 else None

    def validate(out: Path | None) -> Validated:
        return validate_path(
            train.contributions.matrix(rows.numbers), rows.positive, rows.groups, rows.is_answer, C=fixed,
            folds=settings["folds"], seed=settings["seed"], standardize=settings["columns"] == "standardized", out=out,
        )  # fmt: skip

    try:
        validated = validate(fitted_in)
    except OtherSettingsError:  # stored by a version that tried other penalties
        validated = validate(None)
    decisions = validated.found.decisions[settings["chosen"], rows.is_answer]
    return None if np.isnan(decisions).any() else decisions


class _Method(NamedTuple):
    """A score beside the detector: its values on the test answers, and what it costs."""

    values: Floats
    needs: str
    fitted: bool
    passes: float
    work: tuple[str, ...] = (CONTRIBUTIONS,)
    own: float = 0.0
    """Milliseconds an answer of the score's own computing; NaN where they were not measured."""


class _Refit(NamedTuple):
    """One score that is fitted again on resamples of the training questions."""

    score: Scored
    train: AnswerRows
    test: AnswerRows
    counts: Sequence[Mapping[str, int]]
    seed: int

    def intervals(self) -> dict[str, Estimate]:
        """Its AUROC with an interval that includes refitting, by its name; nothing where it cannot be fitted again."""
        name = self.score.method
        kind = SCORES.get(name)() if name in SCORES else None
        refit = kind.refitter(self.train, self.test) if kind and self.counts else None
        if kind is None or refit is None:
            return {}
        every = max(1, len(self.counts) // FEW_REFITS) if kind.slow else 1
        values = refit_scores(self.train, self.counts, {name: refit}, every=every)
        point = auroc(self.test.labels, self.score.decided.values)
        found = {name: drawn for name, drawn in values.items() if drawn}
        return refitted_intervals(found, self.test, {name: point}, seed=self.seed)


class _Job(NamedTuple):
    """One test set, with all that its comparison reads."""

    detector: Detector
    train: AnswerRows
    test: AnswerRows
    scores: Scores
    held_out: Floats | None
    refitted: Mapping[str, Estimate]
    seed: int

    def compare(self, name: str, curve: Sequence[CurvePoint], drawn: Drawn | None) -> Comparison:
        test, methods = self.test, self.methods()
        kinds = wrong_kinds(test)
        own = methods[DETECTOR].values
        weights, uncovered = natural_weights(test, drawn) if drawn else (None, float("nan"))
        stacks: tuple[Stack, ...] = ()
        if self.held_out is not None:
            neurons = Values(self.held_out, own)
            stacks = stack_scores(self.train, test, neurons, self._probe(methods), seed=self.seed)
        return Comparison(
            name=name,
            right=int((~test.labels).sum()),
            wrong=int(test.labels.sum()),
            rivals=tuple(self._rivals(methods, kinds, weights)),
            left_out=self.scores.left_out,
            stacks=stacks,
            within=areas_within(test, own),
            partial=partial_correlation(test, own),
            curve=tuple(curve),
            kinds={kind: int(chosen.sum()) for kind, chosen in kinds.items()},
            abstained=drawn.abstained if drawn else 0,
            prevalence=drawn.prevalence if drawn else float("nan"),
            uncovered=uncovered,
            reading=read_added(stacks) if stacks else "",
            meanings=self.scores.meanings,
        )

    def methods(self) -> dict[str, _Method]:
        """The detector, its positive part, and every score that was computed."""
        found = {
            name: _Method(values, "internals", True, 1) for name, values in own_values(self.detector, self.test).items()
        }
        for one in self.scores.methods:
            own = self.scores.spent.get(one.method, Spent()).milliseconds
            found[one.method] = _Method(one.decided.values, one.needs, one.fitted, one.cost.passes, one.work, own)
        return found

    def _rivals(self, methods: Mapping[str, _Method], kinds: dict[str, Any], weights: Floats | None) -> list[Rival]:
        test, names = self.test, list(methods)
        values = np.stack([method.values for method in methods.values()], axis=1)
        areas = bootstrap_aurocs(test.labels, values, groups=test.groups, seed=self.seed)
        points = {name: auroc(test.labels, method.values) for name, method in methods.items()}
        n, units = len(set(test.groups)), test.fewest_groups
        gaps = {name: areas[:, 0] - areas[:, k] for k, name in enumerate(names) if k}
        p = {name: two_sided(gap) for name, gap in gaps.items()}
        holm = correct_holm(p)
        found = []
        for k, (name, method) in enumerate(methods.items()):
            ahead: Estimate | None = None
            if k:
                point = points[DETECTOR] - points[name]
                ahead = bounded_interval(point, gaps[name], n, units=units, lowest=-1, highest=1)
            found.append(
                Rival(
                    method=name,
                    needs=method.needs,
                    fitted=method.fitted,
                    passes=self._passes(method),
                    samples=self._samples() if method.needs == "samples" else 0.0,
                    bytes=self._bytes(name, method.needs),
                    auroc=bounded_interval(points[name], areas[:, k], n, units=units, lowest=0, highest=1),
                    refitted=self.refitted.get(name),
                    ahead=ahead,
                    p=p.get(name, float("nan")),
                    p_holm=holm.get(name, float("nan")),
                    natural=None if weights is None else score_natural(method.values, test, weights),
                    kinds=areas_by_kind(method.values, test, kinds),
                    milliseconds=self._milliseconds(method),
                )
            )
        return found

    def _probe(self, methods: Mapping[str, _Method]) -> Values | None:
        if PROBE not in methods:
            return None
        return Values(choose_state(self.train, ("answer mean", "answer end")).ridge.held_out, methods[PROBE].values)

    def _samples(self) -> float:
        return float(np.mean([len(samples) for samples in self.test.samples]))

    def _passes(self, method: _Method) -> float:
        """Forward passes an answer, as they were counted, or else as the score says."""
        counted = [self.test.spent[name] for name in method.work if name in self.test.spent]
        passes = sum(spent.passes / spent.items for spent in counted if spent.items)
        return round(passes, 2) or method.passes

    def _milliseconds(self, method: _Method) -> float:
        """Wall time an answer: the score's own, and that of the work it reads."""
        found = method.own
        for name in method.work:
            each = self.test.spent.get(name, Spent()).milliseconds
            found += each * self._samples() if name == SAMPLING else each
        return found

    def _bytes(self, name: str, needs: str) -> float:
        """Bytes stored an answer beyond its text: four a log-probability or opinion, two a value of the inside."""
        tokens = [span[1] - span[0] for e in self.test.examples if (span := e.token_span) is not None]
        if needs == "log-probabilities":
            return 4 * float(np.mean(tokens))
        if needs == "samples":
            return float(np.mean([sum(len(s.text.encode()) for s in samples) for samples in self.test.samples]))
        if needs == "another pass":
            return 4.0
        if needs != "internals":
            return 0.0
        if name in (DETECTOR, POSITIVE):
            return 2.0 * len(self.detector.columns)
        if "all neurons" in name or self.test.states is None:
            return 2.0 * self.test.matrix.shape[1]
        return 2.0 * int(self.test.states.read("answer end", 0, [0]).shape[1])
