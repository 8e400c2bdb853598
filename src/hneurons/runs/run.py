"""The main job: questions -> responses -> ... -> detector -> evaluation, each stage a method of `Run`."""

import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hneurons.core.artifacts import MANIFEST, Manifest
from hneurons.core.errors import ArtifactError, InputError, OtherSettingsError
from hneurons.core.files import storage_errors
from hneurons.core.locks import FolderLock
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Question
from hneurons.runs.asking import are_kept, keep_questions, split_questions
from hneurons.runs.capability import ability_items, load_ability
from hneurons.runs.changed import check_draws, check_questions
from hneurons.runs.earlier import draws_otherwise, earlier_parts, put_aside, recorded_responses
from hneurons.runs.folder import RunFolder
from hneurons.runs.plan import TRAIN, RunPlan

if TYPE_CHECKING:
    from hneurons.answers.entailment import EntailmentJudge
    from hneurons.benchmarks.capability import CapabilityChoice
    from hneurons.detection.detector import Detector
    from hneurons.detection.evaluation import DatasetResult
    from hneurons.detection.rivals.results import Comparison
    from hneurons.detection.scores import Scores
    from hneurons.models.endpoint import Endpoint
    from hneurons.models.engine import Engine
    from hneurons.models.language_model import LanguageModel
    from hneurons.models.prompts import PromptStyle

T = TypeVar("T")
log = logging.getLogger(__name__)


class _Summarised(Protocol):
    @property
    def summary(self) -> dict[str, Any]: ...


class Run(RunFolder):
    """A run's folder with the stages that fill it. Every stage can be called again: finished work is not repeated.

    A `plan` may differ from that of an earlier call. Each stage then makes anew what was made with other settings or
    from other inputs, and says so in the log. Responses are kept, and only those that are missing are drawn. A plan by
    which the model would give other answers is refused with `ArtifactError`, unless `resample` says to draw again.

    - `device`, `max_rows`: where the model runs, and how many sequences at a time.
    - `endpoint`: serves the `llm` judge and finder.
    - `sampler`: an endpoint that serves the plan's own model and draws the responses in its place.
    """

    def __init__(
        self,
        folder: Path,
        plan: RunPlan | None = None,
        *,
        resample: bool = False,
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
            plan = plan.settle(folder, device)
            if not resample:
                check_draws(folder, plan)
            check_questions(folder, plan)
            plan.save(folder)
        super().__init__(folder)
        if plan is not None and self.plan != plan:
            raise ArtifactError(f"{folder}/run.json is not the plan that was written: give the same command again")
        self.planned, self.resample = plan is not None, resample
        self.device, self.max_rows = device, max_rows
        self.endpoint, self.sampler = endpoint, sampler

    @cached_property
    def model(self) -> "LanguageModel":
        return self._load(self.plan.dtype)

    @property
    def measured_model(self) -> "LanguageModel":
        """The model in the number type for measuring; one of another type is let go of first."""
        dtype = self.plan.measure_dtype or self.plan.dtype
        if dtype == self.plan.dtype:
            return self.model
        vars(self).pop("model", None)
        return self._load(dtype)

    def _load(self, dtype: str) -> "LanguageModel":
        from hneurons.models.language_model import load_model

        return load_model(self.plan.model, dtype=dtype, device=self.device)  # type: ignore[arg-type]

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer, the model itself being loaded only where it is needed otherwise."""
        from hneurons.models.checkpoints import load_tokenizer

        return self.model.tokenizer if "model" in vars(self) else load_tokenizer(self.plan.model)

    @cached_property
    def questions(self) -> dict[str, list[Question]]:
        """Questions by dataset, as `split_questions` gives them: from the run, or else from their sources.

        What the sources give is kept in the run, once no response there answers other questions.
        """
        places = {name: self.place(name, "questions") for name in self.datasets()}
        if all(are_kept(place, self.plan, check_files=self.planned) for place in places.values()):
            return {name: self.load_questions(name) for name in places}
        asked = split_questions(self.plan)
        for name, questions in asked.items():
            answered = self._manifest(name, "responses")
            if answered is None or answered.inputs.get("questions") == fingerprint([q.to_row() for q in questions]):
                keep_questions(places[name], self.plan, questions)
        return asked

    def _manifest(self, dataset: str, part: str) -> Manifest | None:
        """The manifest of a stage that was begun."""
        place = self.place(dataset, part)
        found = Manifest.load(place) if (place / MANIFEST).is_file() else None
        return found if found is not None and (found.done or found.complete) else None

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
        if dataset != TRAIN:
            return 1, None
        if not self.plan.recorded_files(TRAIN):
            return self.plan.n, self.plan.min_agreement
        return 1 + max((response.sample for response in self.load_responses(TRAIN)), default=0), self.plan.min_agreement

    def _quota(self, dataset: str) -> int:
        return self.plan.per_class if dataset == TRAIN else self.plan.test_per_class

    def _make(self, name: str, part: str, stage: Callable[[str, Path], T]) -> T:
        """Do one stage of a dataset. What was made with other settings or inputs is made anew, which is logged."""
        place = self.place(name, part)
        try:
            return stage(name, place)
        except OtherSettingsError as change:
            if part == "verdicts":  # a judge may have been paid for them
                kept = put_aside(place.parent, part)
                if (found := self._take_back(name, part, stage)) is not None:
                    log.warning("%s: earlier %s fit again (%s)", name, part, change.reason)
                    return found
                log.warning("%s: the earlier %s are kept in %s", name, part, kept)
            else:
                shutil.rmtree(place)
            log.warning("%s: %s are made anew (%s)", name, part, change.reason)
            return stage(name, place)

    def _take_back(self, name: str, part: str, stage: Callable[[str, Path], T]) -> T | None:
        """What was put aside and is just what the stage would make now, back in its place; None where nothing is."""
        place = self.place(name, part)
        for kept in earlier_parts(place.parent, part):
            kept.rename(place)
            try:
                return stage(name, place)
            except OtherSettingsError:
                place.rename(kept)
        return None

    def _count(
        self, datasets: Iterable[str], part: str, stage: Callable[[str, Path], _Summarised]
    ) -> dict[str, dict[str, Any]]:
        """A stage's counts by dataset."""
        return {name: self._make(name, part, stage).summary for name in datasets}

    def sample(self) -> dict[str, Any]:
        """Stage `sample` of every dataset; counts by dataset."""
        return {name: self._sample(name, questions) for name, questions in self.questions.items()}

    def _sample(self, name: str, questions: list[Question]) -> dict[str, Any]:
        """Responses of one dataset. Where settings changed, earlier responses are used again, and none is deleted."""
        place = self.place(name, "responses")
        if files := self.plan.recorded_files(name):
            return self._record(name, questions, files)
        engine = self._engine()
        following = place.with_name("responses.next")
        if following.is_dir() and not place.is_dir():  # a run was killed between two renames
            following.rename(place)
        try:
            fresh = not place.is_dir() and self._nameless()
            summary = self._draw(name, questions, self._recorded(questions, engine) if fresh else engine, place)
        except OtherSettingsError as change:
            if draws_otherwise(change.differences) and not self.resample:
                raise
            log.warning("%s: responses are made anew from those drawn earlier (%s)", name, change.reason)
            self._draw_again(name, questions, following)
            kept = put_aside(place.parent)
            following.rename(place)
            log.warning("%s: the earlier responses are kept in %s", name, kept)
            summary = Manifest.load(place).summary
        keep_questions(self.place(name, "questions"), self.plan, questions)
        return summary

    def _record(self, name: str, questions: list[Question], files: list[Path]) -> dict[str, Any]:
        """Responses that were recorded elsewhere; once they are kept, their files are not needed any more."""
        from hneurons.answers.questions.recorded import read_recorded
        from hneurons.answers.recording import record_responses

        place = self.place(name, "responses")
        kept = self._manifest(name, "responses")
        if kept is not None and kept.complete and not any(path.is_file() for path in files):
            return kept.summary
        summary = record_responses(questions, read_recorded(files), style=self.style, out=place).summary
        keep_questions(self.place(name, "questions"), self.plan, questions)
        return summary

    def _draw_again(self, name: str, questions: list[Question], out: Path) -> None:
        record = self._recorded(questions, self._engine())
        try:
            self._draw(name, questions, record, out)
        except OtherSettingsError:  # left behind by a change that was not finished
            log.warning("%s: responses of an unfinished change are kept in %s", name, put_aside(out.parent, out.name))
            self._draw(name, questions, record, out)

    def _nameless(self) -> list[Path]:
        """Test sets that the run asked under other names, when it was asked other questions."""
        known = {self.place(dataset, "responses").parent for dataset in self.questions}
        return [place for place in sorted((self.folder / "test").glob("*")) if place not in known and place.is_dir()]

    def _recorded(self, questions: list[Question], engine: "Engine") -> "Engine":
        """An engine that gives what was drawn earlier anywhere in the run, and draws what was not."""
        from hneurons.models.engine import RecordedEngine

        settings = {**engine.settings(self.plan.sampling()), "style": self.style.to_row()}
        folders = [*self._nameless(), *(self.place(dataset, "responses").parent for dataset in self.questions)]
        return RecordedEngine(recorded_responses(folders, questions, settings), settings, missing=engine)

    def _engine(self) -> "Engine":
        from hneurons.models.engine import EndpointEngine, LocalEngine

        if self.sampler is not None:
            return EndpointEngine(self.sampler)
        return LocalEngine(self.model, max_rows=self.max_rows)

    def _draw(self, name: str, questions: list[Question], engine: "Engine", out: Path) -> dict[str, Any]:
        from hneurons.answers.judges.alias import VERSION, judge_alias
        from hneurons.answers.responses import sample_responses

        n, agreement = self._samples(name)
        stops = self.plan.judge == "alias" and self.sampler is None  # endpoints draw all samples
        return sample_responses(
            engine,
            questions,
            n=n,
            sampling=self.plan.sampling(),
            style=self.style,
            judge=judge_alias if stops else None,
            judge_version=VERSION if stops else None,
            min_agreement=agreement,
            quota=self._quota(name),
            extra=0 if name == TRAIN else self.plan.test_n - 1,
            out=out,
        ).summary

    def label(self) -> dict[str, Any]:
        """Stage `label` of every dataset."""
        from hneurons.answers.judging import Judgements, choose_thresholds, label_responses
        from hneurons.answers.recording import load_given

        thresholds = choose_thresholds(self.plan.judge, self.plan.judge_threshold)

        def label(name: str, out: Path) -> Judgements:
            return label_responses(
                self.questions[name],
                self.load_responses(name),
                judge=self.plan.judge,
                thresholds=thresholds,
                endpoint=self.endpoint,
                given=load_given(self.place(name, "responses")),
                out=out,
            )

        return self._count(self.questions, "verdicts", label)

    def select(self) -> dict[str, Any]:
        """Stage `select` of every dataset."""
        from hneurons.answers.selection import Examples, select_examples

        def select(name: str, out: Path) -> Examples:
            n, agreement = self._samples(name)
            return select_examples(
                self.questions[name],
                self.load_responses(name),
                self.load_judgements(name),
                n=n,
                min_agreement=agreement,
                per_class=self._quota(name),
                split="train" if name == TRAIN else "test",
                seed=self.plan.seed,
                uneven=name == TRAIN and bool(self.plan.recorded_files(TRAIN)),
                out=out,
            )

        return self._count(self.questions, "examples", select)

    def locate(self) -> dict[str, Any]:
        """Stage `locate` of every dataset."""
        from hneurons.answers.locating import locate_answers
        from hneurons.answers.selection import Examples

        def locate(name: str, out: Path) -> Examples:
            return locate_answers(
                self.load_selected(name),
                tokenizer=self.tokenizer,
                finder=self.plan.finder,
                endpoint=self.endpoint,
                out=out,
            )

        return self._count(self.questions, "spans", locate)

    def contributions(self) -> dict[str, Any]:
        """Stage `contributions` of every dataset in which an answer was located."""
        from hneurons.neurons.contributions import Contributions, measure_contributions

        model = self.measured_model

        def measure(name: str, out: Path) -> Contributions:
            return measure_contributions(
                model,
                self.load_located(name),
                style=self.style,
                other=self.plan.other,  # type: ignore[arg-type]
                signal=self.plan.signal,
                out=out,
            )

        return self._count(self.testable(), "contributions", measure)

    def fit(
        self,
        *,
        labels: str | None = None,
        columns: str | None = None,
        C: float | None = None,
        selection: str | None = None,
        capability: str | None = None,
        capability_limit: int | None = None,
        out: Path | None = None,
        replace: bool = False,
    ) -> "Detector":
        """Stage `fit`; None stands for what the plan says and for the run's own detector folder.

        selection: "held-out", or "capability" for the paper's way to choose the penalty (`CapabilityChoice`) by the
        benchmark `capability`, NAME or NAME:FILE. Questions of the run's test sets are left out of it.

        The run's own detector is fitted anew where contributions changed, and so is a fit that was never finished. A
        detector fitted in another way is refused with `OtherSettingsError`; with `replace`, that of the run is kept in
        `earlier`.
        """
        from hneurons.detection.fitting import fit_detector

        place = out or self.detector
        plan = self.plan
        chosen: dict[str, Any] = {"labels": labels or plan.labels, "columns": columns or plan.scaling}
        by = selection or ("capability" if capability else "held-out" if C is not None else plan.selection)
        if by == "capability":
            limit = capability_limit or plan.capability_limit
            chosen["choice"] = self._capability(capability or plan.capability, limit)

        def fit() -> "Detector":
            train, asked = self.load_contributions(TRAIN), self.load_questions(TRAIN)
            return fit_detector(train, C=C, seed=self.plan.seed, questions=asked, out=place, **chosen)

        try:
            return fit()
        except OtherSettingsError as change:
            finished = (place / MANIFEST).is_file() and Manifest.load(place).complete
            if finished and not replace and (out is not None or not change.inputs_only):
                raise change.with_remedy("choose another --out, or give --replace to fit anew in its place") from change
            log.warning("the detector is fitted anew (%s)", change.reason)
            if finished and out is None and not change.inputs_only:
                log.warning("the earlier detector is kept in %s", put_aside(self.folder, place.name))
                return fit()
            for part in place.iterdir():
                if (part / MANIFEST).is_file():
                    shutil.rmtree(part)
            (place / MANIFEST).unlink(missing_ok=True)
            return fit()

    def check_capability(self) -> None:
        """Raise `InputError` where the benchmark that is to choose the penalty cannot be had, before hours of work."""
        if self.plan.selection == "capability":
            load_ability(self.plan.capability, seed=self.plan.seed)

    def _capability(self, spec: str, limit: int) -> "CapabilityChoice":
        from hneurons.benchmarks.capability import CapabilityChoice

        tested = [q for name, asked in self.questions.items() if name != TRAIN for q in asked]
        benchmark, kept = ability_items(spec, tested, limit, seed=self.plan.seed)
        return CapabilityChoice(self.model, spec.partition(":")[0], benchmark, kept, max_rows=self.max_rows)

    def states(self) -> dict[str, Any]:
        """Stage `states` of the training answers and of every test set with enough located answers."""
        from hneurons.neurons.states import States, measure_states

        model = self.measured_model

        def measure(name: str, out: Path) -> States:
            return measure_states(model, self.load_located(name), style=self.style, signal=self.plan.signal, out=out)

        return self._count((TRAIN, *self.evaluable()), "states", measure)

    def opinions(self) -> dict[str, Any]:
        """Stage `opinions` of the training answers and of every test set with enough located answers."""
        from hneurons.answers.opinions import Opinions, measure_opinions

        model = self.model

        def measure(name: str, out: Path) -> Opinions:
            return measure_opinions(model, self.load_located(name), out=out)

        return self._count((TRAIN, *self.evaluable()), "opinions", measure)

    def entailment(self) -> dict[str, Any]:
        """Stage `entailments` of the sets whose samples scores read, by the plan's judge of meanings.

        Nothing is done where strings tell the meanings.
        """
        from hneurons.answers.entailment import measure_entailments
        from hneurons.answers.meanings import STRINGS

        if self.plan.meanings == STRINGS:
            return {}
        judge = self._entailment_judge()
        found = {}
        for name in (TRAIN, *self.evaluable()):
            place = self.entailments(name)
            arguments = judge, self.load_located(name), self.load_responses(name)
            try:
                measure_entailments(*arguments, out=place)
            except OtherSettingsError as change:
                shutil.rmtree(place)
                log.warning("%s: meanings are judged anew (%s)", name, change.reason)
                measure_entailments(*arguments, out=place)
            found[name] = Manifest.load(place).summary
        return found

    def _entailment_judge(self) -> "EntailmentJudge":
        from hneurons.answers.entailment import ModelEntailment, NLIEntailment
        from hneurons.answers.meanings import MODEL
        from hneurons.models.nli import NLIModel

        if self.plan.meanings == MODEL:
            return ModelEntailment(self.model)
        return NLIEntailment(NLIModel(self.plan.meanings, device=self.device))

    def scores(self) -> dict[str, "Scores"]:
        """Stage `scores` of every test set that has enough located answers."""
        from hneurons.detection.scores import Scores, score_answers

        train = self.dataset(TRAIN)

        def score(name: str, out: Path) -> Scores:
            return score_answers(train, self.dataset(name), name=name, out=out)

        return {name: self._make(name, "scores", score) for name in self.evaluable()}

    def rivals(self, scores: "Mapping[str, Scores]") -> "dict[str, Comparison]":
        """Stage `rivals`: the run's own detector beside these scores of its test sets."""
        from hneurons.detection.rivals.compare import compare_rivals
        from hneurons.detection.rivals.natural import count_drawn

        drawn = {
            name: count_drawn(self.load_questions(name), self.load_responses(name), self.load_judgements(name))
            for name in scores
        }
        tests = {name: self.dataset(name) for name in scores}
        return compare_rivals(
            self.load_detector(), self.dataset(TRAIN), tests, scores,
            drawn=drawn, seed=self.plan.seed, fitted_in=self.detector, out=self.folder / "rivals",
        )  # fmt: skip

    def evaluate(self, *, detector: str | Path | None = None, out: Path | None = None) -> "dict[str, DatasetResult]":
        """Stage `evaluate` on every test set that has enough located answers.

        The run's own detector is tested unless another is named.
        """
        from hneurons.detection.detector import open_detector
        from hneurons.detection.evaluation import evaluate_detector
        from hneurons.runs.detectors import with_fitted_on

        if detector is None:  # the test sets were drawn without its training questions
            fitted = dataclasses.replace(self.load_detector(), fitted_on=None)
        else:
            fitted = with_fitted_on(open_detector(detector), detector)
        scores = self.scores()
        tests = {name: self.dataset(name) for name in scores}

        def evaluate() -> "dict[str, DatasetResult]":
            place = out or self.evaluation
            return evaluate_detector(fitted, self.dataset(TRAIN), tests, scores=scores, out=place)

        try:
            return evaluate()
        except OtherSettingsError:
            if out is not None or detector is not None:
                raise
            log.warning("the evaluation is made anew (the detector or the answers it was tested on have changed)")
            (self.evaluation / MANIFEST).unlink()
            return evaluate()
