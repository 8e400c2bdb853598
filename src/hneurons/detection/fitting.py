"""Stage `fit`: contributions -> the sparse detector, its penalty chosen by cross-validation grouped by question."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hneurons.answers.questions import question_marks
from hneurons.core.artifacts import FileStage
from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.stats import Estimate
from hneurons.core.types import ModelIdentity, Question
from hneurons.core.wording import interval
from hneurons.detection.answer_rows import even_odds
from hneurons.detection.detector import Detector
from hneurons.detection.penalty import held_out_interval, validate_path
from hneurons.neurons.contributions import Contributions
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.sparse.cross_validation import CrossValidation
from hneurons.sparse.stability import select_stability

Labels = Literal["3-vs-1", "1-vs-1"]
Columns = Literal["standardized", "raw"]
Floats = NDArray[np.float64]
STAGE = "detector"
logger = logging.getLogger(__name__)
STABLE = 0.6  # selection probability from which a neuron counts as stable


@dataclass(frozen=True)
class TrainingRows:
    """Rows a labelling uses: their numbers in the contributions, classes, question groups, and which are answers."""

    numbers: list[int]
    positive: NDArray[np.int64]
    groups: list[str]
    is_answer: NDArray[np.bool_]


class Candidate(NamedTuple):
    """A point of the path: its penalty, its accuracy on held-out answers, and its H-neurons.

    The accuracy is that at the point's own threshold, where these answers have even odds; NaN where a fold lacks it.
    """

    C: float
    lambda_ratio: float
    accuracy: float
    neurons: NeuronSet


class PointChoice(Protocol):
    """A choice of the penalty by more than held-out predictions."""

    @property
    def settings(self) -> dict[str, Any]:
        """What determines the choice."""

    def choose(self, candidates: Sequence[Candidate], out: Path | None) -> tuple[int, dict[str, Any]]:
        """The point, and what it was chosen by; `out` makes it resumable."""


def training_rows(contributions: Contributions, labels: Labels) -> TrainingRows:
    """Rows and classes of a labelling (arXiv 2512.01797, section 2.3).

    "3-vs-1": answer tokens of wrong answers against answer tokens of right ones and other tokens of both; "1-vs-1":
    answer tokens of wrong against right answers. Raises `InputError` for another name, `NotEnoughDataError` when a
    class is empty.
    """
    if labels not in ("3-vs-1", "1-vs-1"):
        raise InputError(f"unknown labelling '{labels}': known are 1-vs-1, 3-vs-1")
    rows = contributions.rows
    numbers = [i for i, row in enumerate(rows) if labels == "3-vs-1" or row["region"] == "answer"]
    numbers.sort(key=lambda i: str(rows[i]["id"]))
    is_answer = np.array([rows[i]["region"] == "answer" for i in numbers], dtype=bool)
    positive = np.array([rows[i]["hallucinated"] for i in numbers], dtype=bool) & is_answer
    if not positive.any() or positive[is_answer].all():
        raise NotEnoughDataError(f"the {len(numbers)} training rows are all of one class: both are needed")
    return TrainingRows(
        numbers, positive.astype(np.int64), [rows[i].get("group", rows[i]["question_id"]) for i in numbers], is_answer
    )


def fit_detector(
    contributions: Contributions,
    *,
    labels: Labels = "1-vs-1",
    columns: Columns = "standardized",
    C: float | None = None,
    choice: PointChoice | None = None,
    folds: int = 5,
    subsamples: int = 50,
    seed: int = 0,
    questions: Sequence[Question] = (),
    out: Path | None = None,
) -> Detector:
    """Fit the L1-logistic detector (arXiv 2512.01797, section 2.3) with balanced class weights.

    The default labelling and scaling did best on unseen questions of both models tried (docs/method.md); the paper's
    labelling is "3-vs-1". The penalty is the point of the path with the lowest log-loss on answers to held-out training
    questions, whatever the labelling. The path goes on until the loss rises again (`validate_path`). (Held-out AUROC
    would hardly do: it is nearly flat along the path, so that noise picks the point, now a single neuron, now
    hundreds.) `C` fixes the penalty instead, in liblinear's terms.

    The decision threshold is where those held-out answers are as likely wrong as right. `subsamples` half-samples by
    question give each neuron's selection probability; 0 leaves that out. Resumable with `out`.

    `questions` are those set aside for training. The detector keeps their marks, so that no labelled answer to them
    tests or calibrates it.

    Raises `NotEnoughDataError` for too few questions or a class that is empty, `InputError` for unusable arguments.
    """
    if columns not in ("standardized", "raw"):
        raise InputError(f"unknown columns '{columns}': known are raw, standardized")
    if C is not None and not C > 0:
        raise InputError(f"C must be above 0, found {C}")
    if C is not None and choice is not None:
        raise InputError("C fixes the penalty, so there is nothing to choose: give C or a choice, not both")
    rows = training_rows(contributions, labels)
    identity = ModelIdentity.from_row(contributions.manifest.settings["model"])
    if contributions.shape != (identity.layers, identity.neurons):
        raise InputError(
            f"the signal '{contributions.signal}' has {contributions.shape[1]} columns a layer, and {identity.name} "
            f"has {identity.neurons} neurons: a detector reads neurons, so measure a signal of neurons"
        )
    settings: dict[str, Any] = {
        "labels": labels, "columns": columns, "C": C, "folds": folds, "subsamples": subsamples, "seed": seed,
        **({} if choice is None else {"choice": choice.settings}),
    }  # fmt: skip
    stage = FileStage(out, stage=STAGE, settings=settings, inputs={"contributions": contributions.content})
    if stage.complete and out is not None:
        return Detector.load(out)
    matrix = contributions.matrix(rows.numbers)
    validated = validate_path(
        matrix, rows.positive, rows.groups, rows.is_answer, C=C, folds=folds, seed=seed,
        standardize=columns == "standardized", out=out,
    )  # fmt: skip
    found, areas, losses = validated.found, validated.areas, validated.losses
    point, edge, chosen_by = validated.best, validated.edge, dict[str, Any]()
    if choice is not None:
        candidates = _candidates(found, rows, identity)
        point, chosen_by = choice.choose(candidates, None if out is None else out / "choice")
        edge = ""
    if edge:
        logger.warning("the penalty was chosen on the edge of the path (%s): another might do better still", edge)
    held_out, answers = found.decisions[point][rows.is_answer], rows.positive[rows.is_answer]
    asked = [group for group, answer in zip(rows.groups, rows.is_answer.tolist(), strict=True) if answer]
    path = found.path
    used = path.coef[point] != 0
    detector = Detector(
        identity=identity,
        columns=path.columns[used].astype(np.int64),
        coef=path.coef[point, used],
        scale=path.scale[used],
        selection_probability=np.full(int(used.sum()), np.nan),
        intercept=float(path.intercepts[point]),
        threshold=even_odds(held_out, answers),
        settings={
            **settings,
            **({"choice": chosen_by} if chosen_by else {}),
            "chosen": point,
            "lambda_ratio": float(path.ratios[point]),
            "C": float(path.C[point]),
            "path": [
                {
                    "lambda_ratio": float(path.ratios[i]),
                    "C": float(path.C[i]),
                    "held_out_auroc": None if np.isnan(areas[i]) else float(areas[i]),
                    "held_out_log_loss": None if np.isnan(losses[i]) else float(losses[i]),
                    "positive": int((path.coef[i] > 0).sum()),
                    "negative": int((path.coef[i] < 0).sum()),
                    "violation": path.certificates[i].violation,
                    "gap": path.certificates[i].gap,
                }
                for i in range(len(path.lambdas))
            ],
            "stopped": path.stopped,
            "edge": edge,
            "held_out_auroc": held_out_interval(held_out, answers, asked, seed=seed).to_row(),
        },
        data={
            "contributions": contributions.content,
            "rows": len(rows.numbers),
            "wrong_answers": int(rows.positive.sum()),
            "right_answers": int((rows.is_answer & (rows.positive == 0)).sum()),
            "other": contributions.manifest.settings["other"],
            "signal": contributions.signal,
            "style": contributions.manifest.settings["style"],
        },
        fitted_on=frozenset[str]().union(*map(question_marks, questions)) if questions else None,
    )
    if subsamples:
        detector = _with_stability(detector, matrix, rows, path.ratios[: point + 1], columns, subsamples, seed, out)
    summary = {"neurons": len(detector.neuron_set()), "columns": len(detector.columns)}
    stage.finish(detector.to_files(), {**summary, "stability": detector.settings.get("stability")})
    return detector


def _with_stability(
    detector: Detector,
    matrix: Any,
    rows: TrainingRows,
    ratios: Floats,
    columns: Columns,
    subsamples: int,
    seed: int,
    out: Path | None,
) -> Detector:
    stability = select_stability(
        matrix,
        rows.positive,
        rows.groups,
        n_subsamples=subsamples,
        seed=seed,
        ratios=[float(r) for r in ratios],
        class_weight="balanced",
        standardize=columns == "standardized",
        out=None if out is None else out / "stability",
    )
    found = dict(zip(stability.columns.tolist(), stability.probability.tolist(), strict=True))
    summary = {"mean_selected": float(stability.sizes.mean()), "threshold": STABLE}
    summary["expected_false"] = stability.expected_false_selections(STABLE)
    summary |= {"half_samples": subsamples, "reached": int(stability.reached[-1])}
    return replace(
        detector,
        selection_probability=np.array([found.get(column, 0.0) for column in detector.columns.tolist()]),
        settings={**detector.settings, "stability": summary},
    )


def _candidates(validated: CrossValidation, rows: TrainingRows, identity: ModelIdentity) -> list[Candidate]:
    path, right = validated.path, rows.positive[rows.is_answer] > 0
    found = []
    for point, decisions in enumerate(validated.decisions[:, rows.is_answer]):
        known = not np.isnan(decisions).any()
        threshold = even_odds(decisions, right.astype(np.int64)) if known else float("nan")
        accuracy = float(((decisions > threshold) == right).mean()) if known else float("nan")
        used = path.coef[point] > 0
        weights = path.coef[point, used] * path.scale[used]
        neurons = NeuronSet.from_columns(identity, path.columns[used].astype(np.int64), weights, data={})
        found.append(Candidate(float(path.C[point]), float(path.ratios[point]), accuracy, neurons))
    return found


def doubt_signal(detector: Detector) -> str:
    """What to say first where held-out answers were not told apart better than by chance; else empty.

    A detector that was not fitted here, or by an earlier version, is not doubted.
    """
    held_out = detector.settings.get("held_out_auroc")
    if not held_out or held_out["low"] is None or held_out["low"] > 0.5:
        return ""
    areas = [point["held_out_auroc"] for point in detector.settings["path"] if point["held_out_auroc"] is not None]
    best = max(areas, default=0.5)
    shown = interval(Estimate.from_row(held_out))
    if best <= 0.5:
        return f"No penalty told held-out wrong answers from right ones: the best AUROC is {best:.3f}, chance is 0.5."
    return (
        "At the chosen penalty held-out wrong answers were not shown to be told from right ones: AUROC "
        f"{shown}, chance is 0.5."
    )
