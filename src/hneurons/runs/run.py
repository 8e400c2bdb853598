"""The main job as one value and one function: questions -> responses -> ... -> detector -> evaluation, in one folder.

run.json            what was asked for
train/STAGE/        responses, verdicts, examples, spans, contributions of the questions trained on
test/NAME/STAGE/    the same for each test set, one natural sample a question
detector/ evaluation/ report.html
"""

import json
import logging
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hneurons.core.artifacts import MANIFEST, Manifest, storage_errors, write_atomic
from hneurons.core.errors import ArtifactError, InputError, NotEnoughDataError
from hneurons.core.seeds import derive_seed
from hneurons.core.types import Question

if TYPE_CHECKING:
    from hneurons.benchmarks.capability import CapabilityChoice
    from hneurons.detection.detector import Detector
    from hneurons.detection.evaluation import Dataset, DatasetResult
    from hneurons.models.endpoint import Endpoint
    from hneurons.models.language_model import LanguageModel
    from hneurons.models.prompts import PromptStyle
    from hneurons.models.sampling import Sampling

RUN_JSON = "run.json"
TRAIN = "train"
_HELD_OUT = 35  # percent of the questions that make the in-domain test set

log = logging.getLogger(__name__)


def _option(default: Any, help: str, flag: str = "") -> Any:
    """A field of `RunPlan` with the text and, where it is not the field's name, the flag the command line shows."""
    return field(default=default, metadata={"help": help, "flag": flag})


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What a run asks of which model; everything but where and on what hardware. Saved as `run.json`.

    Part of `questions` is held out as the in-domain test set. The sampling defaults are the paper's
    (arXiv 2512.01797, section 2.1).
    """

    model: str = field(metadata={"help": "Hub id, local folder, .gguf file, smollm2-135m or gemma-3-270m.", "flag": ""})
    questions: str = field(metadata={"help": "Question set NAME or NAME:FILE; see 'list questions'.", "flag": ""})
    tests: tuple[str, ...] = _option((), "Further test set NAME or NAME:FILE; repeatable.", "--test")
    limit: int | None = _option(None, "Consider at most so many questions.")
    test_limit: int | None = _option(2000, "Consider at most so many questions of each further test set.")
    n: int = _option(10, "Samples a training question.", "-n")
    min_agreement: int | None = _option(
        None, "Samples that must agree for a question to count; default: all. Lower it for weak models."
    )
    temperature: float = _option(1.0, "Sampling temperature; 0 is greedy.")
    top_k: int = _option(50, "Sample among the k likeliest tokens.")
    top_p: float = _option(0.9, "Sample among the smallest set of tokens that has this probability.")
    max_new_tokens: int = _option(50, "Longest answer in tokens.")
    shots: int = _option(0, "Few-shot examples before every question; never from the test questions.")
    per_class: int = _option(1000, "Stop when so many consistent questions of each class are found.")
    test_per_class: int = _option(500, "Stop a test set when it has so many answers of each class.")
    judge: str = _option("alias", "Who says what is right; see 'list judges'.")
    finder: str = _option("response", "Who finds the answer in a response; see 'list finders'.")
    other: str = _option("response", "The other tokens: the rest of the 'response', or of the whole 'sequence'.")
    dtype: str = _option("float32", "float32, bfloat16 or float16.")
    seed: int = _option(0, "Seed of everything random.")

    def check(self) -> None:
        """Raise `InputError` for a name or number that a later stage would refuse, before anything is done."""
        from hneurons.answers.judging import JUDGES
        from hneurons.answers.locating import FINDERS
        from hneurons.answers.questions import QUESTIONS
        from hneurons.neurons.contributions import check_other

        JUDGES.get(self.judge)
        FINDERS.get(self.finder)
        for spec in (self.questions, *self.tests):
            QUESTIONS.get(spec.partition(":")[0])
        check_other(self.other)
        if min(self.n, self.per_class, self.test_per_class) < 1:
            raise InputError(
                f"-n, --per-class and --test-per-class must be at least 1, got {self.n}, {self.per_class} and "
                f"{self.test_per_class}"
            )
        needed = self.n if self.min_agreement is None else self.min_agreement
        if not self.n / 2 < needed <= self.n:
            raise InputError(f"min-agreement must be more than half of n and at most n = {self.n}, got {needed}")
        self.sampling()

    def save(self, folder: Path) -> None:
        """Write `run.json`; a folder with results of another plan is refused with the fields that differ."""
        path = folder / RUN_JSON
        if path.is_file() and any(Manifest.load(found.parent).done for found in folder.rglob(MANIFEST)):
            stored = type(self).load(folder)
            changed = [k for k, v in asdict(stored).items() if v != asdict(self)[k]]
            if changed:
                raise ArtifactError(
                    f"{folder} holds a run with other settings ("
                    + "; ".join(f"{k} was {getattr(stored, k)!r}, now {getattr(self, k)!r}" for k in changed)
                    + "): choose another --out, or delete the folder to start afresh"
                )
            return
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        path = folder / RUN_JSON
        if not path.is_file():
            raise InputError(f"{folder} is no run: it has no {RUN_JSON}; start one with 'run' or 'sample'")
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**row, "tests": tuple(row["tests"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ArtifactError(f"{path} is damaged ({error}): start the run again in a new folder") from error

    def sampling(self) -> "Sampling":
        from hneurons.models.sampling import Sampling

        return Sampling(self.temperature, self.top_k, self.top_p, self.max_new_tokens, self.seed)


class Run:
    """A run's folder and the stages that fill it. Every stage can be called again: finished work is not repeated.

    `device` and `max_rows` say where and how wide the model runs; `endpoint` serves the `llm` judge and finder;
    `sampler`, an endpoint that serves the plan's own model, draws the responses in its place.
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
        self.folder, self.device, self.max_rows = folder, device, max_rows
        self.endpoint, self.sampler = endpoint, sampler
        if plan is not None:
            plan.check()
            plan.save(folder)
        self.plan = RunPlan.load(folder)

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
        sets = {TRAIN: [q for q in asked if q.id not in chosen], _name(plan.questions, ()): held_out}
        seen = {question_key(q.text) for q in sets[TRAIN]}
        facts = {q.fact for q in sets[TRAIN] if q.fact}
        for spec in plan.tests:
            found = load_questions(spec, limit=plan.test_limit, seed=plan.seed)
            kept = [q for q in found if question_key(q.text) not in seen and q.fact not in facts]
            if len(kept) < len(found):
                log.info("%s: %d questions left out, they are trained on", spec, len(found) - len(kept))
            sets[_name(spec, sets)] = kept
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

    def place(self, dataset: str, stage: str) -> Path:
        """The folder of a dataset's stage."""
        return self.folder / (TRAIN if dataset == TRAIN else f"test/{dataset}") / stage

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
        from hneurons.answers.endpoint_sampling import sample_endpoint

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
        from hneurons.answers.responses import load_responses

        return {
            name: label_responses(
                questions,
                load_responses(self.place(name, "responses")).responses,
                judge=self.plan.judge,
                endpoint=self.endpoint,
                out=self.place(name, "verdicts"),
            ).summary
            for name, questions in self.questions.items()
        }

    def select(self) -> dict[str, Any]:
        """Stage `select` of every dataset."""
        from hneurons.answers.judging import load_judgements
        from hneurons.answers.responses import load_responses
        from hneurons.answers.selection import select_examples

        found = {}
        for name, questions in self.questions.items():
            n, agreement = self._samples(name)
            found[name] = select_examples(
                questions,
                load_responses(self.place(name, "responses")).responses,
                load_judgements(self.place(name, "verdicts")).judgements,
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
        from hneurons.answers.selection import load_examples

        return {
            name: locate_answers(
                load_examples(self.place(name, "examples")).examples,
                tokenizer=self.tokenizer,
                finder=self.plan.finder,
                endpoint=self.endpoint,
                out=self.place(name, "spans"),
            ).summary
            for name in self.questions
        }

    def contributions(self) -> dict[str, Any]:
        """Stage `contributions` of every dataset that has examples."""
        from hneurons.answers.selection import load_examples
        from hneurons.neurons.contributions import measure_contributions

        return {
            name: measure_contributions(
                self.model,
                load_examples(self.place(name, "spans"), stage="spans").examples,
                style=self.style,
                other=self.plan.other,  # type: ignore[arg-type]
                out=self.place(name, "contributions"),
            ).summary
            for name in self._testable()
        }

    def _testable(self) -> list[str]:
        """Datasets in which an answer was located; a test set may have none, which the report says."""
        from hneurons.answers.selection import load_examples

        return [
            name
            for name in self.questions
            if name == TRAIN
            or any(e.token_span for e in load_examples(self.place(name, "spans"), stage="spans").examples)
        ]

    def dataset(self, name: str) -> "Dataset":
        """Located examples and contributions of a finished dataset."""
        from hneurons.answers.selection import load_examples
        from hneurons.detection.evaluation import Dataset
        from hneurons.neurons.contributions import load_contributions

        examples = load_examples(self.place(name, "spans"), stage="spans").examples
        return Dataset(examples, load_contributions(self.place(name, "contributions")))

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
        from hneurons.neurons.contributions import load_contributions

        contributions = load_contributions(self.place(TRAIN, "contributions"))
        chosen: dict[str, Any] = {k: v for k, v in (("labels", labels), ("columns", columns)) if v is not None}
        if capability is not None:
            chosen["choice"] = self._capability(capability, capability_limit)
        return fit_detector(contributions, C=C, seed=self.plan.seed, out=out or self.folder / "detector", **chosen)

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

    def evaluate(self, *, detector: Path | None = None, out: Path | None = None) -> "dict[str, DatasetResult]":
        """Stage `evaluate` on every test set, with the run's own detector unless another is named."""
        from hneurons.detection.detector import Detector
        from hneurons.detection.evaluation import evaluate_detector

        tests = {name: self.dataset(name) for name in self._testable() if name != TRAIN}
        fitted = Detector.load(detector or self.folder / "detector")
        return evaluate_detector(fitted, self.dataset(TRAIN), tests, out=out or self.folder / "evaluation")

    def report(self) -> Path:
        """Write `report.html`; its path."""
        from hneurons.report.run_report import write_run_report

        return write_run_report(self)


STAGES = ("sample", "label", "select", "locate", "contributions", "fit", "evaluate", "report")


def _name(spec: str, taken: Any) -> str:
    """A folder name for a question set: its name, numbered where it comes twice."""
    base = spec.partition(":")[0]
    number = 2
    name = base
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name
