"""What a run asks of which model, as one value that is saved with it."""

from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hneurons.core.artifacts import MANIFEST, RUN_JSON, Manifest
from hneurons.core.errors import ArtifactError, InputError, check_most
from hneurons.core.files import read_checked, storage_errors, write_checked
from hneurons.core.rows import Row
from hneurons.core.wording import did_you_mean
from hneurons.runs.naming import TRAIN as TRAIN
from hneurons.runs.naming import check_names, known_by, name_as_before, name_datasets

if TYPE_CHECKING:
    from hneurons.models.sampling import Sampling

_MOST = {"capability_limit": 1_000_000, "n": 1000, "shots": 1000, "max_new_tokens": 100_000}
_KNOWN = {
    "labels": ("1-vs-1", "3-vs-1"), "scaling": ("raw", "standardized"), "selection": ("capability", "held-out"),
}  # fmt: skip
STAGES = ("sample", "label", "select", "locate", "contributions", "fit", "evaluate", "report")


def _option(default: Any, help: str, flag: str = "", *, draws: bool = False) -> Any:
    """A field of `RunPlan` with its help, its flag where that is not its name, and whether it decides what is drawn.

    A field without help is no option of the command line.
    """
    return field(default=default, metadata={"help": help, "flag": flag, "draws": draws})


@dataclass(frozen=True, kw_only=True)
class RunPlan(Row):
    """What a run asks of which model; everything but where and on what hardware. Saved as `run.json`.

    Part of `questions` is held out as the in-domain test set. The sampling defaults are the paper's
    (arXiv 2512.01797, section 2.1).
    """

    model: str = _option(MISSING, "Hub id, local folder, .gguf file, smollm2-135m or gemma-3-270m.", draws=True)
    questions: str = _option("", "Question set NAME or NAME:FILE; see 'list questions'. Not with --responses.")
    tests: tuple[str, ...] = _option((), "Further test set NAME or NAME:FILE; repeatable.", "--test")
    limit: int | None = _option(None, "Largest number of questions to consider; by default all of them.")
    test_limit: int | None = _option(2000, "Largest number of questions to consider of each further test set.")
    n: int = _option(10, "Number of samples per training question.", "-n")
    test_n: int = _option(
        1, "Samples per test question. The first is judged; scores such as semantic entropy read the others."
    )
    min_agreement: int | None = _option(
        None, "Number of samples that must agree for a question to count; by default all. Lower it for weak models."
    )
    temperature: float = _option(1.0, "Sampling temperature; 0 is greedy.", draws=True)
    top_k: int = _option(50, "Sample among this many of the likeliest tokens.", draws=True)
    top_p: float = _option(0.9, "Sample among the fewest tokens that have this probability together.", draws=True)
    max_new_tokens: int = _option(50, "Longest answer, in tokens.", draws=True)
    shots: int = _option(0, "Number of few-shot examples; they are never among the questions asked.", draws=True)
    per_class: int = _option(1000, "Sampling ends when each class has this many consistent questions.")
    test_per_class: int = _option(500, "A test set ends when each class has this many answers.")
    judge: str = _option("alias", "Who says which answers are right; see 'list judges'.")
    judge_threshold: float | None = _option(
        None, "The alias judge calls a reply incorrect up to this probability that it is right; by default 0.17."
    )
    finder: str = _option("response", "Who finds the answer in a response; see 'list finders'.")
    other: str = _option(
        "response", "Other tokens are those of the rest of the 'response', or of the whole 'sequence'."
    )
    meanings: str = _option(
        "strings", "Who says which samples mean the same: 'strings', the 'model', or an NLI model by hub id or folder."
    )
    meaning_rule: str = _option(
        "both", "Two samples mean the same if 'both' or 'either' entails, or 'no-contradiction'."
    )
    signal: str = _option("cett", "What is measured of every neuron; see 'list signals'.")
    labels: str = _option("1-vs-1", "What is fitted: 1-vs-1 (answers), or 3-vs-1 (answers and other tokens).")
    scaling: str = _option("standardized", "What is fitted of the contributions: standardized or raw.")
    selection: str = _option(
        "held-out",
        "What chooses the penalty: held-out, or capability (held-out accuracy + ability without the neurons).",
        "--select",
    )
    capability: str = _option("triviaqa", "Benchmark of ability that --select capability asks, NAME or NAME:FILE.")
    capability_limit: int = _option(100, "Items of that benchmark.")
    dtype: str = _option("auto", "Number type of the model: float32, bfloat16, float16 or what is fast.", draws=True)
    measure_dtype: str | None = _option(None, "Number type in which contributions are measured; by default --dtype.")
    seed: int = _option(0, "Seed of everything that is random.", draws=True)
    names: tuple[str, ...] = _option((), "")
    """What the held-out part of `questions` and then `tests` are called in the run, once there is one."""

    def check(self) -> None:
        """Raise `InputError` for a name or number that a later stage would refuse, before anything is done."""
        from hneurons.answers.judging import JUDGES, choose_thresholds
        from hneurons.answers.locating import FINDERS
        from hneurons.answers.meanings import MODEL, STRINGS, check_rule
        from hneurons.answers.questions import QUESTIONS
        from hneurons.models.nli import check_nli_model
        from hneurons.models.precision import choose_dtype
        from hneurons.neurons.contributions import check_other
        from hneurons.neurons.signals import SIGNALS

        if not self.questions:
            raise InputError(
                "give --questions NAME to ask the model, or --responses FILE with answers that were recorded"
            )
        JUDGES.get(self.judge)
        choose_thresholds(self.judge, self.judge_threshold)
        FINDERS.get(self.finder)
        check_rule(self.meaning_rule)
        if self.meanings not in (STRINGS, MODEL):
            check_nli_model(self.meanings)
        for flag, known in _KNOWN.items():
            if getattr(self, flag) not in known:
                given = getattr(self, flag)
                raise InputError(f"unknown {flag} '{given}'{did_you_mean(given, known)}")
        SIGNALS.get(self.signal)
        for spec in (self.questions, *self.tests):
            QUESTIONS.get(spec.partition(":")[0])
        check_other(self.other)
        for dtype in {self.dtype, self.measure_dtype or self.dtype}:
            choose_dtype(dtype)
        if min(self.n, self.test_n, self.per_class, self.test_per_class) < 1:
            raise InputError(
                f"-n, --test-n, --per-class and --test-per-class must be at least 1, got {self.n}, {self.test_n}, "
                f"{self.per_class} and {self.test_per_class}"
            )
        for name, most in _MOST.items():
            check_most(f"--{name.replace('_', '-')}" if len(name) > 1 else f"-{name}", getattr(self, name), most)
        needed = self.n if self.min_agreement is None else self.min_agreement
        if not self.n / 2 < needed <= self.n:
            raise InputError(f"min-agreement must be more than half of n and at most n = {self.n}, got {needed}")
        self.sampling()

    def settle(self, folder: Path, device: str | None) -> Self:
        """This plan with number types by name in place of "auto": those of the run in `folder`, or what is fast here.

        Datasets keep the names that they have there. So a run that moves to other hardware goes on as it began.
        """
        from hneurons.models.precision import choose_dtype

        earlier = type(self).load(folder) if (folder / RUN_JSON).is_file() else None
        dtype, measure = self.dtype, self.measure_dtype
        if dtype == "auto":
            dtype = earlier.dtype if earlier else choose_dtype("auto", device)
        if measure == "auto":
            measure = (earlier and earlier.measure_dtype) or choose_dtype("auto", device)
        names = earlier._names_for(self, folder) if earlier else name_datasets((self.questions, *self.tests))
        return replace(self, dtype=dtype, measure_dtype=measure, names=names)

    def _names_for(self, following: "RunPlan", folder: Path) -> tuple[str, ...]:
        """What the datasets of the plan that follows this one in the folder are called."""
        place, specs = folder / TRAIN / "questions", (self.questions, *self.tests)
        read = Manifest.load(place).inputs if (place / MANIFEST).is_file() else {}
        wanted = [known_by(spec, specs, read) for spec in (following.questions, *following.tests)]
        return name_datasets(wanted, zip(specs, self.names, strict=True))

    def changes(self, earlier: Self) -> dict[str, str]:
        """Field -> what it was in an earlier plan and what it is now."""
        old, new = asdict(earlier), asdict(self)
        return {name: f"{name} was {old[name]!r}, now {new[name]!r}" for name in new if old[name] != new[name]}

    def draws_otherwise(self, earlier: Self) -> list[str]:
        """The changes since an earlier plan by which the model would give other answers."""
        drawing = {item.name for item in fields(self) if item.metadata["draws"]}
        return [said for name, said in self.changes(earlier).items() if name in drawing]

    def save(self, folder: Path) -> None:
        """Write `run.json`. Raises `StorageError`."""
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_checked(folder / RUN_JSON, replace(self, names=tuple(self.datasets()[1:])).to_row())

    @classmethod
    def load(cls, folder: Path) -> Self:
        path = folder / RUN_JSON
        if not path.is_file():
            raise InputError(f"{folder} is no run: it has no {RUN_JSON}; start one with 'run' or 'sample'")
        try:
            plan = cls.from_row(read_checked(path))
            specs = (plan.questions, *plan.tests)
            named = replace(plan, names=plan.names or name_as_before(specs))
            check_names(specs, named.names)
            return named
        except ValueError as error:
            raise ArtifactError(
                f"{path} is damaged ({error}): move it away and give the same 'run' again, which keeps what fits"
            ) from error

    def datasets(self) -> list[str]:
        """Dataset names: "train", the held-out part of `questions`, then `tests`; see `name_datasets`."""
        return [TRAIN, *(self.names or name_datasets((self.questions, *self.tests)))]

    def recorded_files(self, dataset: str) -> list[Path]:
        """The files of answers that were recorded elsewhere; empty for a dataset whose questions the model is asked."""
        from hneurons.answers.questions.recorded import RECORDED

        specs = dict(zip(self.datasets(), (self.questions, self.questions, *self.tests), strict=True))
        name, _, paths = specs[dataset].partition(":")
        return [Path(path.strip()).expanduser() for path in paths.split(",")] if name == RECORDED else []

    def sampling(self) -> "Sampling":
        from hneurons.models.sampling import Sampling

        return Sampling(self.temperature, self.top_k, self.top_p, self.max_new_tokens, self.seed)
