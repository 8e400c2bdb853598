"""Finders beside each other on the labelled answers of one run: how many they find, and what a detector makes of it.

For each finder the answers that the run selected are located and measured, a detector is fitted on the training ones,
and the test ones are scored. Methods are compared on the test answers that all finders found, with shared resamples of
questions. `whole` takes all of the response but its reasoning. The `llm` finder needs --url.

Run: python bench/finders.py RUN --out FOLDER
"""

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.answers.locating import FINDERS, Finder, locate_answers
from hneurons.core.progress import enable_progress
from hneurons.core.stats import Estimate, auroc, bootstrap_aurocs, bootstrap_means, bounded_interval
from hneurons.core.types import Example, Span
from hneurons.detection.answer_rows import AnswerRows, Dataset, answer_rows, check_unseen
from hneurons.detection.detector import Detector
from hneurons.detection.fitting import STABLE, fit_detector
from hneurons.models.endpoint import Endpoint, open_endpoint
from hneurons.neurons.contributions import measure_contributions
from hneurons.runs.plan import TRAIN
from hneurons.runs.run import Run

WHOLE = "whole"


@FINDERS.register(WHOLE)
class WholeFinder(Finder):
    """Takes the whole response, without reasoning and white space around it."""

    version, chunk = 1, 512

    @staticmethod
    def find(examples: Sequence[Example], endpoint: Endpoint | None) -> list[Span | None]:
        return [_whole(example.response.text) for example in examples]


def _whole(text: str) -> Span | None:
    reply = cut_reasoning(text)
    start = reply.start + len(reply.text) - len(reply.text.lstrip())
    end = reply.start + len(reply.text.rstrip())
    return (start, end) if start < end else None


class Found(NamedTuple):
    """What one finder gives: located of how many by class, the detector, and its decisions on the test answers."""

    located: dict[str, str]
    detector: Detector
    rows: AnswerRows
    decided: np.ndarray


def try_finder(run: Run, finder: str, test: str, endpoint: Endpoint | None, out: Path) -> Found:
    """Locate, measure, fit and score with one finder; what the run has already measured so is not measured again."""
    data, located = {}, {}
    for name in (TRAIN, test):
        found = locate_answers(run.load_selected(name), tokenizer=run.tokenizer, finder=finder, endpoint=endpoint)
        counts = found.summary
        located[name] = " + ".join(
            f"{counts['found'][kind]} of {counts['found'][kind] + counts['not_found'][kind]} {kind}"
            for kind in ("right", "wrong")
        )
        if found.examples == _measured(run, name):
            data[name] = Dataset(run.load_located(name), run.load_contributions(name))
        else:
            measured = measure_contributions(
                run.measured_model, found.examples, style=run.style, signal=run.plan.signal, out=out / finder / name
            )
            data[name] = Dataset(found.examples, measured)
    train, rows = (answer_rows(data[name], name) for name in (TRAIN, test))
    check_unseen(train, rows, test)
    detector = fit_detector(data[TRAIN].contributions, seed=run.plan.seed, out=out / finder / "detector")
    return Found(located, detector, rows, detector.decide(rows.matrix))


def _measured(run: Run, name: str) -> list[Example]:
    there = {"spans", "contributions"} <= run.manifests(name).keys()
    return run.load_located(name) if there else []


def compare(found: dict[str, Found], seed: int) -> None:
    """Print each finder's scores on the answers that all of them located, and the differences of neighbours."""
    common = set.intersection(*({e.id for e in one.rows.examples} for one in found.values()))
    kept = {name: [n for n, e in enumerate(one.rows.examples) if e.id in common] for name, one in found.items()}
    first = next(iter(found))
    labels = found[first].rows.labels[kept[first]]
    groups = [found[first].rows.groups[n] for n in kept[first]]
    values = np.stack([one.decided[kept[name]] for name, one in found.items()], axis=1)
    right = (values > [one.detector.threshold for one in found.values()]) == labels[:, None]
    areas = np.vstack([
        [auroc(labels, column) for column in values.T], bootstrap_aurocs(labels, values, groups=groups, seed=seed),
    ])  # fmt: skip
    shares = np.vstack([right.mean(axis=0), bootstrap_means(right, groups=groups, seed=seed)])
    print(f"compared on {len(labels)} answers ({int(labels.sum())} wrong) that every finder located")
    for n, (name, one) in enumerate(found.items()):
        neurons = one.detector.neuron_set()
        print(f"{name}: located " + "; ".join(f"{part}: {count}" for part, count in one.located.items()))
        print(f"  AUROC {_between(areas[:, n], groups, 0)}, accuracy {_between(shares[:, n], groups, 0)}")
        print(f"  {len(neurons)} H-neurons, {int((neurons.selection_probability >= STABLE).sum())} stable, "
              f"mean selection probability {np.mean(neurons.selection_probability):.2f}")  # fmt: skip
    for (a, one), (b, other) in pairwise(enumerate(found.values())):
        names = list(found)
        mine, theirs = (set(f.detector.neuron_set().columns.tolist()) for f in (one, other))
        print(f"{names[b]} less {names[a]}: AUROC {_between(areas[:, b] - areas[:, a], groups, -1)}, "
              f"accuracy {_between(shares[:, b] - shares[:, a], groups, -1)}; {len(mine & theirs)} neurons shared "
              f"of {len(mine)} and {len(theirs)}")  # fmt: skip


def _between(values: np.ndarray, groups: list[str], lowest: float) -> Estimate:
    n = len(set(groups))
    return bounded_interval(float(values[0]), values[1:], n, units=n, lowest=lowest, highest=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--test", help="test set; the first of the run by default")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is measured; the same command resumes")
    parser.add_argument("--url", help="OpenAI-compatible endpoint of the llm finder")
    parser.add_argument("--model", default="default", help="model name at that endpoint")
    options = parser.parse_args()
    enable_progress()
    run, endpoint = Run(options.run), open_endpoint(options.url, options.model)
    test = options.test or run.datasets()[1]
    names = ["response", WHOLE] + (["llm"] if endpoint else [])
    if not endpoint:
        print("no endpoint is given (--url): the llm finder, the paper's, is left out")
    compare({name: try_finder(run, name, test, endpoint, options.out) for name in names}, run.plan.seed)


if __name__ == "__main__":
    main()
