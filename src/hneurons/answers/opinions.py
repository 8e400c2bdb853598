"""Stage `opinions`: located examples -> what the model that wrote an answer says of it when it is asked.

P(True) is how likely it finds "(A) True" against "(B) False" (arXiv 2207.05221). Verbalised confidence is
a number that it writes. Nothing is shown to it but question and answer.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.core.artifacts import RowStore, load_rows
from hneurons.core.errors import NotEnoughDataError
from hneurons.core.files import stored_errors
from hneurons.core.progress import progress
from hneurons.core.rows import Row
from hneurons.core.seeds import fingerprint
from hneurons.core.timing import Clock
from hneurons.core.types import Example, identify

if TYPE_CHECKING:
    from hneurons.models.language_model import LanguageModel

STAGE, VERSION = "opinions", 1
TRUE, NUMBER = "P(True)", "verbalised confidence"
"""The two kinds of work, as they are timed."""
CHUNK = 128
NUMBER_TOKENS = 8
"""Longest reply in which a number is looked for."""
_TRUE = """Question: {question}
Proposed Answer: {answer}
Is the proposed answer:
 (A) True
 (B) False"""
_BEGUN, _OPTIONS = "The proposed answer is: (", ("A", "B")
_NUMBER = """How likely is it that the proposed answer to the question is true? Respond with one whole number from 0 \
(certainly false) to 100 (certainly true), without any explanation.
Question: {question}
Proposed Answer: {answer}"""
_ASIDE = "Number:"
"""How the line of the number begins where there is no chat template."""
_SAID = re.compile(r"\A[\s*_`\"']*+(\d{1,3})\s*+(?:%|percent|/\s*+100)?[\s*_`\"'.]*+")


@dataclass(frozen=True, slots=True)
class Opinion(Row):
    """What the model says of one answer.

    - `log_odds`: of true against false. `mass`: the probability that it goes on with either of the two.
    - `number`: how likely the answer is true, in percent; None where what it `said` is not one number from 0 to 100.
    """

    example_id: str
    log_odds: float
    mass: float
    number: int | None
    said: str


class Opinions(NamedTuple):
    """One opinion an example, identified by `content`."""

    rows: list[Opinion]
    summary: dict[str, Any]
    content: str


def measure_opinions(
    model: "LanguageModel", examples: Sequence[Example], *, batch_size: int = 32, out: Path | None = None
) -> Opinions:
    """Ask the model about each of its answers that was located. Resumable with `out`.

    The summary has the mean `mass` and, by class, how many replies hold no number (`unread`). A model without a cache
    of keys and values is not asked for numbers: these replies are empty. Answers with which a prompt does not fit the
    model's window are left out, and counted as `too_long`.

    Raises `NotEnoughDataError` when no example has a span or none fits, `InputError`, `StorageError`.
    """
    located = [e for e in examples if e.token_span is not None]
    if not located:
        raise NotEnoughDataError(f"none of {len(examples)} examples has an answer span: run 'locate' first")
    settings = {"model": model.identity.to_row(), "version": VERSION, "batch_size": batch_size, **model.dtype_setting}
    asked = [e for e in located if _fits(model, e)]
    if not asked:
        raise NotEnoughDataError(f"none of {len(located)} answers fits the window of {model.name} when it is asked")
    order = sorted(asked, key=lambda e: (len(e.question.text) + len(e.response.text), e.id))
    chunks = range(0, len(order), CHUNK)
    inputs = {"examples": identify(located)}
    store = RowStore(out, stage=STAGE, settings=settings, inputs=inputs, expected=len(chunks))
    if not store.complete:
        asker, clock = _Asker(model, order), Clock(out, done=store.done)
        with progress("opinions", len(order), done=len(store.rows)) as advance:
            for start in chunks[store.done :]:
                odds: list[tuple[float, float]] = []
                end = min(start + CHUNK, len(order))
                for first in range(start, end, batch_size):
                    numbers = range(first, min(first + batch_size, end))
                    with clock.time(TRUE, len(numbers), passes=len(numbers)):
                        odds += asker.read_true(numbers)
                    advance(len(numbers) / 2)
                with clock.time(NUMBER, end - start):
                    said, passes = asker.ask_numbers(range(start, end))
                clock.add(NUMBER, 0.0, 0.0, passes)
                advance((end - start) / 2)
                store.commit([
                    Opinion(order[start + place].id, *odds[place], parse_number(text), text).to_row()
                    for place, text in enumerate(said)
                ])  # fmt: skip
                clock.save()
        left_out = {"too_long": len(located) - len(order)} if len(order) < len(located) else {}
        store.finish({**_summary(order, [Opinion.from_row(row) for row in store.rows]), **left_out})
    return _read(store.rows, store.manifest.summary, store.manifest.fingerprint)


def load_opinions(folder: Path) -> Opinions:
    """Read a finished `opinions` folder. Raises `InputError` for another one, `ArtifactError` for a damaged one."""
    manifest, rows = load_rows(folder, stage=STAGE)
    with stored_errors(folder):
        return _read(rows, manifest.summary, manifest.fingerprint)


def parse_number(said: str) -> int | None:
    """The whole number from 0 to 100 that a reply is; None where it is anything else."""
    match = _SAID.fullmatch(cut_reasoning(said).text)
    return int(match[1]) if match and int(match[1]) <= 100 else None


def _read(rows: list[dict[str, Any]], summary: dict[str, Any], cause: str) -> Opinions:
    found = [Opinion.from_row(row) for row in rows]
    return Opinions(found, summary, fingerprint([cause, [one.example_id for one in found]]))


def _summary(examples: Sequence[Example], opinions: Sequence[Opinion]) -> dict[str, Any]:
    pairs = zip(examples, opinions, strict=True)
    unread = Counter("wrong" if example.hallucinated else "right" for example, one in pairs if one.number is None)
    return {
        "answers": len(opinions),
        "mass": round(sum(one.mass for one in opinions) / len(opinions), 4),
        "unread": {name: unread[name] for name in ("right", "wrong")},
    }


def _parts(example: Example) -> dict[str, str]:
    return {"question": example.question.text, "answer": cut_reasoning(example.response.text).text.strip()}


def _encode(model: "LanguageModel", said: str, begun: str) -> list[int]:
    from hneurons.models.prompts import begin_turn

    add = not model.tokenizer.chat_template
    return list(model.tokenizer(begin_turn(model.tokenizer, said, begun), add_special_tokens=add)["input_ids"])


def _encode_number(model: "LanguageModel", parts: dict[str, str]) -> list[int]:
    return _encode(model, _NUMBER.format(**parts), "" if model.tokenizer.chat_template else _ASIDE)


def _fits(model: "LanguageModel", example: Example) -> bool:
    parts = _parts(example)
    ids = [_encode(model, _TRUE.format(**parts), _BEGUN), _encode_number(model, parts)]
    return max(map(len, ids)) + NUMBER_TOKENS <= model.window


class _Asker:
    """All prompts of the stage, and the caches of what they begin with."""

    def __init__(self, model: "LanguageModel", examples: Sequence[Example]) -> None:
        from hneurons.models.options import Asked, OptionReader
        from hneurons.models.prefill import prefill_shared
        from hneurons.models.prompts import common_prefix

        self.model = model
        parts = [_parts(example) for example in examples]
        self.options = OptionReader(model, [Asked(_TRUE.format(**part), _BEGUN) for part in parts], _OPTIONS)
        self.prompts = [_encode_number(model, part) for part in parts]
        self.prefix = common_prefix(self.prompts)
        self.prefix_cache = prefill_shared(model, self.prefix) if model.keeps_cache else None

    def read_true(self, numbers: Sequence[int]) -> list[tuple[float, float]]:
        """Log odds of true against false, and the probability of either, of each of these examples."""
        found = self.options.read(numbers)
        return [(round(float(a - b), 4), round(math.exp(a) + math.exp(b), 4)) for a, b in found]

    def ask_numbers(self, numbers: Sequence[int]) -> tuple[list[str], int]:
        """The greedy replies to the request for a number, and how many tokens these have: a pass each."""
        from hneurons.models.engine import decode_answer
        from hneurons.models.prefill import Prompts
        from hneurons.models.prompts import PromptStyle
        from hneurons.models.sampling import Branch, Generation, Sampling, generate

        said = [""] * len(numbers)
        if self.prefix_cache is None:
            return said, 0
        lengths: list[int] = []
        sampling = Sampling(temperature=0.0, top_k=1, max_new_tokens=NUMBER_TOKENS)
        stops = self.model.stops(PromptStyle())
        prompts = [self.prompts[number] for number in numbers]
        ready = Prompts(self.model, prompts, self.prefix, self.prefix_cache, 1)

        def keep(branch: Branch, drawn: Generation) -> tuple[Branch, ...]:
            lengths.append(len(drawn.token_ids))
            said[branch.prompt] = decode_answer(self.model, drawn.token_ids, stops)
            return ()

        generate(self.model, ready, [Branch(place, ()) for place in range(len(numbers))], sampling, stops, on_done=keep)
        return said, sum(lengths)
