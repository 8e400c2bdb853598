"""A run's folder: where each stage lies, how far it has come, and what it holds. No model is needed to read it.

run.json            what was asked for
train/STAGE/        questions, responses, verdicts, examples, spans, contributions of the questions trained on
test/NAME/STAGE/    the same for each test set, one natural sample a question, and its scores
detector/ evaluation/ report.html
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hneurons.core.artifacts import MANIFEST, RUN_JSON, Manifest, load_rows
from hneurons.core.errors import ArtifactError
from hneurons.core.seeds import fingerprint
from hneurons.core.showing import one_line
from hneurons.core.timing import Spent, read_timing
from hneurons.core.types import Example, Judgement, Question, Response, identify
from hneurons.runs.plan import TRAIN, RunPlan

if TYPE_CHECKING:
    from pandas import DataFrame

    from hneurons.answers.meanings import Meanings
    from hneurons.answers.opinions import Opinions
    from hneurons.detection.answer_rows import Dataset
    from hneurons.detection.detector import Detector
    from hneurons.detection.evaluation import DatasetResult
    from hneurons.models.prompts import PromptStyle
    from hneurons.neurons.contributions import Contributions
    from hneurons.neurons.states import States

logger = logging.getLogger(__name__)
PARTS = ("responses", "verdicts", "examples", "spans", "contributions", "states", "opinions", "scores")
"""Folders of a dataset's stages, in the order in which they are made."""


class RunFolder:
    """What a run has written, read from `folder`, with its `plan`.

    Every `load_...` raises `InputError` where the stage was not made, and `ArtifactError` where it is unfinished or
    was changed since.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan = RunPlan.load(folder)

    def __repr__(self) -> str:
        asked = f"{self.plan.model} on {', '.join([self.plan.questions, *self.plan.tests])}"
        done = [part.name for part in (self.detector, self.evaluation) if (part / MANIFEST).is_file()]
        return one_line(self, str(self.folder), asked, f"has {' and '.join(done)}" if done else "no detector yet")

    @property
    def detector(self) -> Path:
        """The folder of the run's own detector."""
        return self.folder / "detector"

    @property
    def evaluation(self) -> Path:
        """The folder of the evaluation of that detector."""
        return self.folder / "evaluation"

    def place(self, dataset: str, stage: str) -> Path:
        """The folder of a dataset's stage."""
        return self.folder / (TRAIN if dataset == TRAIN else f"test/{dataset}") / stage

    def datasets(self) -> list[str]:
        """Names of the run's datasets: "train" and then every test set, in the order of the plan."""
        return self.plan.datasets()

    def manifests(self, dataset: str) -> dict[str, Manifest]:
        """Manifests of a dataset's finished stages, by stage."""
        places = {part: self.place(dataset, part) for part in PARTS}
        loaded = {part: Manifest.load(place) for part, place in places.items() if (place / MANIFEST).is_file()}
        return {part: manifest for part, manifest in loaded.items() if manifest.complete}

    def check_current(self) -> None:
        """Raise `ArtifactError` where a finished stage was not made from the one before it, or by another plan.

        That is so between a change of settings and the end of the stages that follow from it.
        """
        for dataset in self.datasets():
            self._check_dataset(dataset)
        place = self.place(TRAIN, "contributions")
        if (place / MANIFEST).is_file() and (self.detector / MANIFEST).is_file():
            measured, rows = load_rows(place)
            if Manifest.load(self.detector).inputs.get("contributions") != fingerprint([measured.fingerprint, rows]):
                raise ArtifactError(
                    f"{self.detector} was fitted on other contributions: run 'fit' and what follows again"
                )

    def _check_dataset(self, dataset: str) -> None:
        found = self.manifests(dataset)
        checks: list[tuple[str, str, str, str]] = [
            ("verdicts", "label", "judge", self.plan.judge),
            ("spans", "locate", "finder", self.plan.finder),
            ("contributions", "contributions", "other", self.plan.other),
        ]
        for part, verb, setting, planned in checks:
            if part in found and found[part].settings.get(setting) != planned:
                raise ArtifactError(
                    f"{self.place(dataset, part)} was made with {setting} '{found[part].settings.get(setting)}', and "
                    f"{RUN_JSON} says '{planned}': run '{verb}' and the stages after it again"
                )
        self._check_threshold(dataset, found)
        chain: list[tuple[str, str, str, Callable[[str], Sequence[Response | Judgement | Example]]]] = [
            ("verdicts", "label", "responses", self.load_responses),
            ("examples", "select", "verdicts", self.load_judgements),
            ("spans", "locate", "examples", self.load_selected),
            ("contributions", "contributions", "examples", self.load_located),
        ]
        for part, verb, source, load in chain:
            if part not in found:
                continue
            values = load(dataset)
            # Earlier versions also identified log-probabilities.
            if found[part].inputs.get(source) not in (identify(values), fingerprint([v.to_row() for v in values])):
                raise ArtifactError(
                    f"{self.place(dataset, part)} was made from other {source} than the run has now: run '{verb}' and "
                    "the stages after it again"
                )

    def _check_threshold(self, dataset: str, found: dict[str, Manifest]) -> None:
        from hneurons.answers.judges.probability import DEFAULT_THRESHOLDS
        from hneurons.answers.judging import choose_thresholds

        if "verdicts" not in found:
            return
        planned = choose_thresholds(self.plan.judge, self.plan.judge_threshold) or DEFAULT_THRESHOLDS
        made = found["verdicts"].settings.get("thresholds", [DEFAULT_THRESHOLDS.incorrect])[0]
        if made != planned.incorrect:
            raise ArtifactError(
                f"{self.place(dataset, 'verdicts')} was made with judge threshold {made:g}, and {RUN_JSON} says "
                f"{planned.incorrect:g}: run 'label' and the stages after it again"
            )

    def judge_error(self) -> str:
        """A sentence about how often the verdicts of this run are wrong, or that it is not known."""
        verdicts = self.manifests(TRAIN).get("verdicts")
        said = verdicts.summary.get("known_error") if verdicts is not None else None
        return str(said or f"The error of the judge '{self.plan.judge}' was not recorded: run 'label' again.")

    def load_questions(self, dataset: str) -> list[Question]:
        from hneurons.runs.asking import load_kept

        return load_kept(self.place(dataset, "questions"))

    def load_responses(self, dataset: str) -> list[Response]:
        from hneurons.answers.responses import load_responses

        return load_responses(self.place(dataset, "responses")).responses

    def load_judgements(self, dataset: str) -> list[Judgement]:
        from hneurons.answers.judging import load_judgements

        return load_judgements(self.place(dataset, "verdicts")).judgements

    def load_selected(self, dataset: str) -> list[Example]:
        """Selected examples, before their answers are located."""
        from hneurons.answers.selection import load_examples

        return load_examples(self.place(dataset, "examples")).examples

    def load_located(self, dataset: str) -> list[Example]:
        """Selected examples with the spans of their answers; the span is None where none was found."""
        from hneurons.answers.selection import load_examples

        return load_examples(self.place(dataset, "spans"), stage="spans").examples

    def to_pandas(self, dataset: str) -> "DataFrame":
        """The selected answers of a dataset with verdict, located part and, where evaluated, the detector's log odds.

        See `examples_frame` for the columns. Needs the extra `pandas`.
        """
        from hneurons.answers.selection import examples_frame

        evaluated = self.load_evaluation().get(dataset) if (self.evaluation / MANIFEST).is_file() else None
        odds = None if evaluated is None else {example: value for example, _, value in evaluated.items}
        return examples_frame(self.load_located(dataset), odds)

    def load_contributions(self, dataset: str) -> "Contributions":
        from hneurons.neurons.contributions import load_contributions

        return load_contributions(self.place(dataset, "contributions"))

    def load_style(self) -> "PromptStyle":
        """How the training questions were put."""
        from hneurons.models.prompts import PromptStyle

        return PromptStyle.from_row(self.load_contributions(TRAIN).manifest.settings["style"])

    def load_states(self, dataset: str) -> "States":
        from hneurons.neurons.states import load_states

        return load_states(self.place(dataset, "states"))

    def load_opinions(self, dataset: str) -> "Opinions":
        from hneurons.answers.opinions import load_opinions

        return load_opinions(self.place(dataset, "opinions"))

    def testable(self) -> list[str]:
        """Datasets in which an answer was located; a test set may have none, which the report says."""
        return [
            name
            for name in self.datasets()
            if name == TRAIN or any(example.token_span for example in self.load_located(name))
        ]

    def evaluable(self) -> list[str]:
        """Test sets with enough located answers to be evaluated at all; others are left out with a warning."""
        from hneurons.detection.evaluation import FLOOR

        found = {n: sum(e.token_span is not None for e in self.load_located(n)) for n in self.datasets() if n != TRAIN}
        for name, located in found.items():
            if located < FLOOR:
                logger.warning("'%s' is left out: %d answers were located, fewer than %d", name, located, FLOOR)
        return [name for name, located in found.items() if located >= FLOOR]

    def dataset(self, name: str) -> "Dataset":
        """Located examples, contributions and all samples of a finished dataset, and what was measured for scores."""
        from hneurons.detection.answer_rows import Dataset

        located = self.load_located(name)
        asked = identify([e for e in located if e.token_span])
        # What was measured of answers that were located otherwise since is left alone until 'scores' measures it anew.
        current = {part for part, made in self.manifests(name).items() if made.inputs.get("examples") == asked}
        states = self.load_states(name) if "states" in current else None
        opinions = self.load_opinions(name) if "opinions" in current else None
        responses = self.load_responses(name)
        meanings = self._meanings(name, located, responses)
        spent: dict[str, Spent] = {}
        for part in ("responses", "contributions", "states", "opinions"):
            spent |= read_timing(self.place(name, part))
        spent |= read_timing(self.entailments(name))
        return Dataset(located, self.load_contributions(name), responses, states, opinions, meanings, spent)

    def entailments(self, dataset: str) -> Path:
        """The folder of what the plan's judge of meanings said of a dataset's samples."""
        return self.place(dataset, "entailments") / re.sub(r"[^\w.-]+", "-", self.plan.meanings)

    def _meanings(self, dataset: str, located: list[Example], responses: list[Response]) -> "Meanings":
        """Which samples mean the same, by the plan; its table is None where these samples were not judged."""
        from hneurons.answers.entailment import identify_texts, load_entailments, texts_of
        from hneurons.answers.meanings import STRINGS, Meanings

        judge, rule, place = self.plan.meanings, self.plan.meaning_rule, self.entailments(dataset)
        made = Manifest.load(place) if judge != STRINGS and (place / MANIFEST).is_file() else None
        if made and made.complete and made.inputs.get("texts") == identify_texts(texts_of(located, responses)):
            return replace(load_entailments(place), rule=rule)
        return Meanings(judge, rule)

    def load_detector(self) -> "Detector":
        from hneurons.detection.detector import Detector

        return Detector.load(self.detector)

    def load_evaluation(self) -> "dict[str, DatasetResult]":
        """The evaluation of the run's own detector. Raises `ArtifactError`, too, where it is of another one."""
        from hneurons.detection.evaluation import load_evaluation

        return load_evaluation(self.evaluation, detector=self.load_detector())
