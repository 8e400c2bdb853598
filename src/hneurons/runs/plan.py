"""What a run asks of which model, as one value that is saved with it."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hneurons.core.artifacts import MANIFEST, Manifest
from hneurons.core.errors import ArtifactError, InputError
from hneurons.core.files import read_checked, storage_errors, write_checked
from hneurons.core.rows import Row
from hneurons.neurons.opening import RUN_JSON

if TYPE_CHECKING:
    from hneurons.models.sampling import Sampling

TRAIN = "train"
STAGES = ("sample", "label", "select", "locate", "contributions", "fit", "evaluate", "report")


def _option(default: Any, help: str, flag: str = "") -> Any:
    """A field of `RunPlan` with the text and, where it is not the field's name, the flag the command line shows."""
    return field(default=default, metadata={"help": help, "flag": flag})


@dataclass(frozen=True, kw_only=True)
class RunPlan(Row):
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
    signal: str = _option("cett", "What is measured of every neuron; see 'list signals'.")
    dtype: str = _option("float32", "float32, bfloat16 or float16.")
    seed: int = _option(0, "Seed of everything random.")

    def check(self) -> None:
        """Raise `InputError` for a name or number that a later stage would refuse, before anything is done."""
        from hneurons.answers.judging import JUDGES
        from hneurons.answers.locating import FINDERS
        from hneurons.answers.questions import QUESTIONS
        from hneurons.neurons.contributions import check_other
        from hneurons.neurons.signals import SIGNALS

        JUDGES.get(self.judge)
        FINDERS.get(self.finder)
        SIGNALS.get(self.signal)
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
        write_checked(path, self.to_row())

    @classmethod
    def load(cls, folder: Path) -> Self:
        path = folder / RUN_JSON
        if not path.is_file():
            raise InputError(f"{folder} is no run: it has no {RUN_JSON}; start one with 'run' or 'sample'")
        try:
            return cls.from_row(read_checked(path))
        except ValueError as error:
            raise ArtifactError(f"{path} is damaged ({error}): start the run again in a new folder") from error

    def datasets(self) -> list[str]:
        """Dataset names: "train", the held-out part of `questions`, then `tests`; repeated names are numbered."""
        names: list[str] = [TRAIN]
        for spec in (self.questions, *self.tests):
            base = spec.partition(":")[0]
            name, number = base, 2
            while name in names:
                name, number = f"{base}-{number}", number + 1
            names.append(name)
        return names

    def sampling(self) -> "Sampling":
        from hneurons.models.sampling import Sampling

        return Sampling(self.temperature, self.top_k, self.top_p, self.max_new_tokens, self.seed)
