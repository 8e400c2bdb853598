"""Fit the probability of the `alias` judge and measure its errors, on answers that people have judged.

    python scripts/fit_alias_judge.py ROWS [--curves CURVES.json]

ROWS is JSONL (.gz) with question, answers, response, human_correct, system: EVOUNA (Wang et al. 2023, arXiv 2305.12421,
Apache-2.0). Writes src/hneurons/answers/judges/data/alias_judge.json: coefficients fitted on all rows, and the errors
of each class at each threshold from ten folds in which no question is on both sides. No text of ROWS is stored.
"""

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from hneurons.answers.judges import alias
from hneurons.answers.judges.evidence import feature_names
from hneurons.core.types import Question

OUT = Path(__file__).parent.parent / "src/hneurons/answers/judges/data/alias_judge.json"
PENALTY, FOLDS, DRAWS = 0.1, 10, 500
GRID = {
    "incorrect": [round(0.01 * n, 2) for n in range(2, 51)],
    "correct": [round(0.5 + 0.01 * n, 2) for n in range(50)],
}


class Table(NamedTuple):
    """One row per judged answer: features, whether a known answer was found, human judgement, question number."""

    values: np.ndarray
    found: np.ndarray
    right: np.ndarray
    question: np.ndarray
    settled: np.ndarray
    doubt: np.ndarray
    system: np.ndarray


def read_table(rows: list[dict[str, Any]]) -> Table:
    """Read every reply as the judge does, up to the probability."""
    readings = [alias.read_reply(Question("q", r["question"], tuple(r["answers"])), r["response"]) for r in rows]
    width = len(next(r.evidence.values for r in readings if r.evidence is not None))
    return Table(
        np.array([r.evidence.values if r.evidence is not None else (0.0,) * width for r in readings]),
        np.array([r.evidence is not None and r.evidence.match is not None for r in readings]),
        np.array([bool(r["human_correct"]) for r in rows]),
        np.unique([r["question"] for r in rows], return_inverse=True)[1],
        np.array([r.settled.verdict if r.settled is not None else "" for r in readings]),
        np.array([bool(r.doubt) for r in readings]),
        np.array([r["system"] for r in rows]),
    )


def fit(values: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, float]:
    """Coefficients of the unscaled features and the intercept of a ridge logistic regression."""
    scaler = StandardScaler().fit(values)
    model = LogisticRegression(C=PENALTY, max_iter=5000).fit(scaler.transform(values), right)
    coefficients = model.coef_[0] / scaler.scale_
    return coefficients, float(model.intercept_[0] - coefficients @ scaler.mean_)


def cross_fit(table: Table, seed: int = 0) -> np.ndarray:
    """Each reply's probability of being right, from regressions that saw none of its question."""
    probability = np.zeros(len(table.right))
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(table.values, table.right, table.question):
        for found in (True, False):
            use, give = (part[(table.found[part] == found) & (table.settled[part] == "")] for part in (train, test))
            coefficients, intercept = fit(table.values[use], table.right[use])
            probability[give] = 1 / (1 + np.exp(-(table.values[give] @ coefficients + intercept)))
    return probability


def chosen(table: Table, probability: np.ndarray, verdict: str, threshold: float) -> np.ndarray:
    """Which replies get a verdict at a threshold, as `alias.decide` gives them."""
    free = (table.settled == "") & ~table.doubt
    by_model = probability <= threshold if verdict == "incorrect" else probability >= threshold
    return (free & by_model & (table.found == (verdict == "correct"))) | (table.settled == verdict)


def curve(table: Table, probability: np.ndarray, verdict: str) -> Iterator[dict[str, float]]:
    """At each threshold how many replies get the verdict and how many of them people judged otherwise.

    `low` and `high` bound the error in 95% of draws of questions with replacement.
    """
    rng = np.random.default_rng(0)
    questions = table.question.max() + 1
    draws = rng.multinomial(questions, np.full(questions, 1 / questions), size=DRAWS)
    for threshold in GRID[verdict]:
        mask = chosen(table, probability, verdict, threshold)
        false = mask & (table.right != (verdict == "correct"))
        n, wrong = (np.bincount(table.question[m], minlength=questions) for m in (mask, false))
        low, high = np.quantile((draws @ wrong) / np.maximum(draws @ n, 1), [0.025, 0.975])
        yield {"threshold": threshold, "n": int(n.sum()), "wrong": int(wrong.sum()),
               "low": round(float(low), 4), "high": round(float(high), 4)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=Path)
    parser.add_argument("--curves", type=Path, help="also write the curves of every system here")
    given = parser.parse_args()
    data = given.rows.read_bytes()
    text = gzip.decompress(data) if given.rows.suffix == ".gz" else data
    rows = [json.loads(line) for line in text.decode().split("\n") if line]
    table = read_table(rows)
    names = feature_names()
    probability = cross_fit(table)
    stored: dict[str, Any] = {"version": alias.VERSION, "features": names}
    for key, found in (("found", True), ("not_found", False)):
        part = (table.settled == "") & (table.found == found)
        coefficients, intercept = fit(table.values[part], table.right[part])
        stored[key] = {"intercept": round(intercept, 6), "coefficients": [float(f"{c:.6g}") for c in coefficients]}
    stored["measured"] = {
        "on": "EVOUNA (arXiv 2305.12421): answers of five systems to NQ-Open and TriviaQA, judged by people",
        "answers": len(rows),
        "questions": int(table.question.max() + 1),
        "human_correct": int(table.right.sum()),
        **{verdict: list(curve(table, probability, verdict)) for verdict in ("correct", "incorrect")},
    }
    OUT.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    if given.curves:
        systems = {
            str(system): {
                verdict: list(curve(Table(*(column[mask] for column in table)), probability[mask], verdict))
                for verdict in ("correct", "incorrect")
            }
            for system in np.unique(table.system)
            for mask in [table.system == system]
        }
        given.curves.write_text(json.dumps(systems, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
