"""The main job: questions -> responses -> ... -> detector -> evaluation, each stage a method of `Run`."""

import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hneurons.core.errors import ArtifactError, InputError, NotEnoughDataError
from hneurons.core.files import storage_errors
from hneurons.core.locks import FolderLock
from hneurons.core.seeds import derive_seed
from hneurons.core.types import Question
from hneurons.runs.folder import RunFolder
from hneurons.runs.plan import TRAIN, RunPlan

if TYPE_CHECKING:
    from hneurons.benchmarks.capability import CapabilityChoice
    from hneurons.detection.detector import Detector
    from hneurons.detection.evaluation import DatasetResult
    from hneurons.detection.scores import Scores
    from hneurons.models.endpoint import Endpoint
    from hneurons.models.language_model import LanguageModel
    from hneurons.models.prompts import PromptStyle

_HELD_OUT = 35  # percent of the questions that make the in-domain test set

log = logging.getLogger(__name__)


class Run(RunFolder):
    """A run's folder with the stages that fill it. Every stage can be called again: finished work is not repeated.

    - `device`, `max_rows`: where the model runs, and how many sequences at a time.
    - `endpoint`: serves the `llm` judge and finder.
    - `sampler`: an endpoint that serves the plan's own model and draws the responses in its place.
    """

    def __init__(
        self,
        folder: Path,
        plan: RunPlan | None = None,
        *,
        device: str | None = None,
        max_rows: int = 128,
        endpoint: "Endpoint | None" = None,
        sampler: "Endpoint | None" = None,
    ) -> None:
        if plan is not None:
            plan.check()
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(folder)  # for as long as this run is there
            plan.save(folder)
        super().__init__(folder)
        if plan is not None and self.plan != plan:
            raise ArtifactError(f"{folder}/run.json is not the plan that was written: start the run in a new folder")
        self.device, self.max_rows = device, max_rows
        self.endpoint, self.sampler = endpoint, sampler

    @cached_property
    def model(self) -> "LanguageModel":
        from hneurons.models.language_model import load_model

        return load_model(self.plan.model, dtype=self.plan.dtype, device=self.device)  # type: ignore[arg-type]

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer, the model itself being loaded only where it is needed otherwise."""
        from hneurons.models.checkpoints import load_tokenizer

        return self.model.tokenizer if "model" in vars(self) else load_tokenizer(self.plan.model)

    @cached_property
    def questions(self) -> dict[str, list[Question]]:
        """Questions by dataset: "train", the held-out part of the same set, then the other test sets.

        All questions about one fact are held out or none. A test question that is also trained on, after normalisation,
        or asks a fact that is, is dropped.
        """
        from hneurons.answers.questions import load_questions, question_key

        plan = self.plan
        asked = load_questions(plan.questions, limit=plan.limit, seed=plan.seed)
        held_out = [q for q in asked if derive_seed("held out", plan.seed, q.group) % 100 < _HELD_OUT]
        chosen = {q.id for q in held_out}
        names = self.plan.datasets()
        sets = {TRAIN: [q for q in asked if q.id not in chosen], names[1]: held_out}
        seen = {question_key(q.text) for q in sets[TRAIN]}
        facts = {q.fact for q in sets[TRAIN] if q.fact}
        for name, spec in zip(names[2:], plan.tests, strict=True):
            found = load_questions(spec, limit=plan.test_limit, seed=plan.seed)
            kept = [q for q in found if question_key(q.text) not in seen and q.fact not in facts]
            if len(kept) < len(found):
                log.info("%s: %d questions left out, they are trained on", spec, len(found) - len(kept))
            sets[name] = kept
        for name, kept in sets.items():
            if not kept:
                raise NotEnoughDataError(
                    f"no question is left for '{name}': {_HELD_OUT}% of the questions are held out as test set, and "
                    "what is trained on is left out of every test set; give more questions or another test set"
                )
        return sets

    @cached_property
    def style(self) -> "PromptStyle":
        """The prompt style, with few-shot examples that are none of the run's questions."""
        from hneurons.models.prompts import PromptStyle

        if not self.plan.shots:
            return PromptStyle()
        from hneurons.answers.questions.few_shot import few_shot_examples

        avoid = [q for questions in self.questions.values() for q in questions]
        return PromptStyle(shots=few_shot_examples(self.plan.shots, avoid=avoid))

    def demand_endpoint(self) -> None:
        """Raise `InputError` when the judge or the finder needs an endpoint and there is none."""
        from hneurons.answers.judging import JUDGES
        from hneurons.answers.locating import FINDERS

        needy = JUDGES.get(self.plan.judge).needs_endpoint or FINDERS.get(self.plan.finder).needs_endpoint
        if needy and self.endpoint is None:
            raise InputError(
                f"judge '{self.plan.judge}' with finder '{self.plan.finder}' needs an endpoint: give --judge-url"
            )

    def _samples(self, dataset: str) -> tuple[int, int | None]:
        """(samples a question, agreement): consistency for training, single natural samples for tests."""
        return (self.plan.n, self.plan.min_agreement) if dataset == TRAIN else (1, None)

    def _quota(self, dataset: str) -> int:
        return self.plan.per_class if dataset == TRAIN else self.plan.test_per_class

    def sample(self) -> dict[str, Any]:
        """Stage `sample` of every dataset; counts by dataset."""
        from hneurons.answers.judges.alias import VERSION, judge_alias
        from hneurons.answers.responses import sample_responses

        found = {}
        for name, questions in self.questions.items():
            n, agreement = self._samples(name)
            if self.sampler is not None:
                found[name] = self._sample_from_endpoint(self.sampler, name, questions, n)
                continue
            found[name] = sample_responses(
                self.model,
                questions,
                n=n,
                sampling=self.plan.sampling(),
                style=self.style,
                judge=judge_alias if self.plan.judge == "alias" else None,
                judge_version=VERSION if self.plan.judge == "alias" else None,
                min_agreement=agreement,
                quota=self._quota(name),
                max_rows=self.max_rows,
                out=self.place(name, "responses"),
            ).summary
        return found

    def _sample_from_endpoint(
        self, sampler: "Endpoint", name: str, questions: list[Question], n: int
    ) -> dict[str, Any]:
        from hneurons.answers.responses import sample_endpoint

        return sample_endpoint(
            questions,
            sampler,
            n=n,
            temperature=self.plan.temperature,
            top_p=self.plan.top_p,
            top_k=self.plan.top_k,
            max_tokens=self.plan.max_new_tokens,
            seed=self.plan.seed,
            style=self.style,
            out=self.place(name, "responses"),
        ).summary

    def label(self) -> dict[str, Any]:
        """Stage `label` of every dataset."""
        from hneurons.answers.judging import label_responses

        return {
            name: label_responses(
                questions,
                self.load_responses(name),
                judge=self.plan.judge,
                endpoint=self.endpoint,
                out=self.place(name, "verdicts"),
            ).summary
            for name, questions in self.questions.items()
        }

    def select(self) -> dict[str, Any]:
        """Stage `select` of every dataset."""
        from hneurons.answers.selection import select_examples

        found = {}
        for name, questions in self.questions.items():
            n, agreement = self._samples(name)
            found[name] = select_examples(
                questions,
                self.load_responses(name),
                self.load_judgements(name),
                n=n,
                min_agreement=agreement,
                per_class=self._quota(name),
                split="train" if name == TRAIN else "test",
                seed=self.plan.seed,
                out=self.place(name, "examples"),
            ).summary
        return found

    def locate(self) -> dict[str, Any]:
        """Stage `locate` of every dataset."""
        from hneurons.answers.locating import locate_answers

        return {
            name: locate_answers(
                self.load_selected(name),
                tokenizer=self.tokenizer,
                finder=self.plan.finder,
                endpoint=self.endpoint,
                out=self.place(name, "spans"),
            ).summary
            for name in self.questions
        }

    def contributions(self) -> dict[str, Any]:
        """Stage `contributions` of every dataset that has examples."""
        from hneurons.neurons.contributions import measure_contributions

        return {
            name: measure_contributions(
                self.model,
                self.load_located(name),
                style=self.style,
                other=self.plan.other,  # type: ignore[arg-type]
                signal=self.plan.signal,
                out=self.place(name, "contributions"),
            ).summary
            for name in self.testable()
        }

    def fit(
        self,
        *,
        labels: str | None = None,
        columns: str | None = None,
        C: float | None = None,
        capability: str | None = None,
        capability_limit: int | None = None,
        out: Path | None = None,
    ) -> "Detector":
        """Stage `fit`; None stands for `fit_detector`'s default and for the run's own detector folder.

        capability: the benchmark, NAME or NAME:FILE, by which the penalty is chosen as in the paper
        (`CapabilityChoice`); questions of the run's test sets are left out of it.
        """
        from hneurons.detection.fitting import fit_detector

        chosen: dict[str, Any] = {k: v for k, v in (("labels", labels), ("columns", columns)) if v is not None}
        if capability is not None:
            chosen["choice"] = self._capability(capability, capability_limit)
        contributions = self.load_contributions(TRAIN)
        return fit_detector(contributions, C=C, seed=self.plan.seed, out=out or self.detector, **chosen)

    def _capability(self, spec: str, limit: int | None) -> "CapabilityChoice":
        from hneurons.answers.questions import question_key
        from hneurons.benchmarks import load_items
        from hneurons.benchmarks.capability import CapabilityChoice

        benchmark, items = load_items(spec, seed=self.plan.seed)
        if not benchmark.shows_ability:
            raise InputError(
                f"the benchmark of --capability should show an ability, such as triviaqa or facts; '{spec}' does not"
            )
        tested = [q for name, asked in self.questions.items() if name != TRAIN for q in asked]
        texts, facts = {question_key(q.text) for q in tested}, {q.group for q in tested}
        kept = [
            item
            for item in items
            if item.question is None or not (question_key(item.question.text) in texts or item.question.group in facts)
        ][:limit]
        if not kept:
            raise NotEnoughDataError(f"all questions of {spec} are in the run's test sets: give a file with others")
        return CapabilityChoice(self.model, spec.partition(":")[0], benchmark, kept, max_rows=self.max_rows)

    def scores(self) -> dict[str, "Scores"]:
        """Stage `scores` of every test set in which an answer was located."""
        from hneurons.detection.scores import score_answers

        train = self.dataset(TRAIN)
        return {
            name: score_answers(train, self.dataset(name), name=name, out=self.place(name, "scores"))
            for name in self.testable()
            if name != TRAIN
        }

    def evaluate(self, *, detector: str | Path | None = None, out: Path | None = None) -> "dict[str, DatasetResult]":
        """Stage `evaluate` on every test set, with the run's own detector unless another is named."""
        from hneurons.detection.detector import open_detector
        from hneurons.detection.evaluation import evaluate_detector

        fitted = self.load_detector() if detector is None else open_detector(detector)
        tests = {name: self.dataset(name) for name in self.testable() if name != TRAIN}
        return evaluate_detector(fitted, self.dataset(TRAIN), tests, scores=self.scores(), out=out or self.evaluation)
