"""Stage `sample`: questions -> responses, drawn in rounds that stop as soon as a question cannot be consistent."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hneurons.core.artifacts import RowStore, load_rows
from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.progress import progress
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Question, Response, Verdict

if TYPE_CHECKING:
    from hneurons.models.language_model import LanguageModel
    from hneurons.models.prompts import PromptStyle
    from hneurons.models.sampling import Branch, Generation, Sampling

STAGE = "responses"
CHUNK = 128  # questions committed together; fixed, so that stopping rules do not depend on batch sizes
LEAD = 32  # how far one class may be ahead of the other, shared out over the relations


class Judged(Protocol):
    @property
    def verdict(self) -> Verdict: ...


Judge = Callable[[Question, str], Judged]


class Responses(NamedTuple):
    """Responses in question order, then sample order; and how the prompts they answer were written."""

    responses: list[Response]
    style: "PromptStyle"
    summary: dict[str, Any]


def is_hallucination(question: Question, verdict: Verdict) -> bool | None:
    """The class of a judged answer: wrong (True), right (False), or neither (None).

    About something invented, saying so is right; about a real thing an abstention belongs to neither class.
    """
    if verdict == "incorrect":
        return True
    if verdict == "correct" or (verdict == "abstained" and not question.answerable):
        return False
    return None


class Classes:
    """The class of an answer to a question of this set: wrong (True), right (False) or neither (None).

    In a set that asks about invented things beside real ones without known answers (UnknownBench NEC), a confident
    answer about a real thing stands for the right ones: the contrast is then invented against real.
    """

    def __init__(self, questions: Iterable[Question]) -> None:
        self.invented = any(not question.answerable for question in questions)

    def of(self, question: Question, verdict: Verdict, text: str) -> bool | None:
        if self.invented and question.answerable and not question.answers and verdict == "unscored" and text:
            return False
        return is_hallucination(question, verdict)


def sample_responses(
    model: "LanguageModel",
    questions: Sequence[Question],
    *,
    n: int = 10,
    sampling: "Sampling | None" = None,
    style: "PromptStyle | None" = None,
    judge: Judge | None = None,
    judge_version: int | None = None,
    rounds: tuple[int, ...] = (2, 3, 5),
    min_agreement: int | None = None,
    quota: int | None = None,
    max_rows: int = 128,
    out: Path | None = None,
) -> Responses:
    """Draw up to `n` responses a question (arXiv 2512.01797, section 2.1).

    With a `judge`, sampling goes in `rounds` and stops at a question as soon as neither class can reach
    `min_agreement` (default: all `n`); a class that is far ahead of the other in its relation (`LEAD`), or has reached
    `quota`, is no longer pursued, and once `quota` consistent questions a class are there sampling ends. Without a
    judge all `n` are drawn. What is drawn for a sample depends only on (seed, question id, sample). Resumable with
    `out`; `judge_version` counts changes of the judge's rules, which decide where sampling stops, so that responses
    stopped by other rules are refused.

    Raises `InputError` for unusable arguments, `NotEnoughDataError` without questions, `PromptTooLongError`,
    `StorageError`.
    """
    from hneurons.models.language_model import LanguageModel
    from hneurons.models.prompts import PromptStyle
    from hneurons.models.sampling import Sampling

    assert isinstance(model, LanguageModel)
    sampling, style, needed = sampling or Sampling(), style or PromptStyle(), min_agreement or n
    if n < 1 or not n / 2 < needed <= n:
        raise InputError(f"min-agreement must be more than half of n and at most n = {n}, got {needed}")
    if not questions:
        raise NotEnoughDataError("there are no questions to ask: give a question set that is not empty")
    settings = {
        "model": model.identity.to_row(),
        "sampling": sampling.to_row(),
        "style": style.to_row(),
        "n": n,
        "judge": getattr(judge, "__name__", None),
        "judge_version": judge_version,
        "rounds": rounds if judge else (n,),
        "min_agreement": needed,
        "quota": quota,
    }
    chunks = [list(questions[i : i + CHUNK]) for i in range(0, len(questions), CHUNK)]
    inputs = {"questions": fingerprint([q.to_row() for q in questions])}
    store = RowStore(out, stage=STAGE, settings=settings, inputs=inputs, expected=len(chunks))
    if store.complete:
        return Responses([Response.from_row(row) for row in store.rows], style, store.manifest.summary)

    prompts = [model.encode(q.text, style, room=sampling.max_new_tokens) for q in questions]
    sampler = _Sampler(model, prompts, sampling, model.stops(style), max_rows)
    progress_of = _Progress(questions, n, needed, quota, judge)
    progress_of.count([Response.from_row(row) for row in store.rows])
    with progress("sample", len(questions), done=min(store.done * CHUNK, len(questions)), unit="questions") as advance:
        for chunk in chunks[store.done :]:
            if progress_of.full():
                break
            plan = _Plan(chunk, rounds if judge else (n,), progress_of)
            start = next(i for i, q in enumerate(questions) if q is chunk[0])
            drawn = sampler.draw(plan, prompts[start : start + len(chunk)])
            store.commit([r.to_row() for r in drawn])
            progress_of.count(drawn)
            advance(len(chunk), progress_of.note())
    responses = [Response.from_row(row) for row in store.rows]
    asked = min(store.done * CHUNK, len(questions))
    summary = {
        "questions": len(questions),
        "asked": asked,
        "responses": len(responses),
        "tokens": sum(len(r.token_ids) for r in responses),
        "truncated": sum(r.finish_reason == "length" for r in responses),
        "stopped_early": sum(len(rs) < n for rs in group_by_question(responses).values()),
    }
    store.finish(summary)
    return Responses(responses, style, summary)


def load_responses(folder: Path) -> Responses:
    """Read a finished `sample` folder. Raises `InputError` or `ArtifactError`."""
    from hneurons.models.prompts import PromptStyle

    manifest, rows = load_rows(folder, stage=STAGE)
    return Responses(
        [Response.from_row(r) for r in rows], PromptStyle.from_row(manifest.settings["style"]), manifest.summary
    )


def group_by_question(responses: Iterable[Response]) -> dict[str, list[Response]]:
    groups: dict[str, list[Response]] = defaultdict(list)
    for response in responses:
        groups[response.question_id].append(response)
    return groups


class _Progress:
    """Consistent questions so far, per relation and class, and whether more of them are wanted."""

    def __init__(
        self, questions: Sequence[Question], n: int, needed: int, quota: int | None, judge: Judge | None
    ) -> None:
        self.questions, self.classes = {q.id: q for q in questions}, Classes(questions)
        self.n, self.needed, self.quota, self.judge = n, needed, quota, judge
        self.counts: dict[str, Counter[bool]] = defaultdict(Counter)
        self.lead = max(2, LEAD // len({q.relation for q in questions}))

    def class_of(self, question: Question, text: str) -> bool | None:
        assert self.judge is not None
        return self.classes.of(question, self.judge(question, text).verdict, text)

    def count(self, responses: list[Response]) -> None:
        if self.judge is None:
            return
        for question_id, drawn in group_by_question(responses).items():
            question = self.questions[question_id]
            classes = [self.class_of(question, r.text) for r in drawn]
            # As selection does: of truncated answers alone no example can be made.
            whole = {c for c, r in zip(classes, drawn, strict=True) if r.finish_reason == "stop"}
            for hallucinated in (False, True):
                if classes.count(hallucinated) >= self.needed and hallucinated in whole:
                    self.counts[question.relation][hallucinated] += 1

    def wanted(self, relation: str) -> set[bool]:
        if self.quota is None:
            return {False, True}
        counts = self.counts[relation]
        return {c for c in (False, True) if counts[c] < self.quota and counts[c] < counts[not c] + self.lead}

    def full(self) -> bool:
        pairs = sum(min(c[False], c[True]) for c in self.counts.values())
        return self.quota is not None and self.judge is not None and pairs >= self.quota

    def note(self) -> str:
        right, wrong = (sum(c[k] for c in self.counts.values()) for k in (False, True))
        return f"{right} consistently right, {wrong} wrong" if self.judge else ""


class _Plan:
    """Which samples of one chunk's questions to draw next, decided when a round of a question is complete."""

    def __init__(self, chunk: list[Question], rounds: tuple[int, ...], state: _Progress) -> None:
        self.chunk, self.rounds, self.state = chunk, rounds, state
        self.wanted = {relation: state.wanted(relation) for relation in {q.relation for q in chunk}}
        self.texts: list[dict[int, str]] = [{} for _ in chunk]

    def first_round(self) -> list[tuple[int, int]]:
        return [(i, sample) for i in range(len(self.chunk)) for sample in range(min(self.rounds[0], self.state.n))]

    def after(self, index: int, sample: int, text: str) -> list[tuple[int, int]]:
        """The (question, sample) pairs to draw once this answer is known."""
        texts, question = self.texts[index], self.chunk[index]
        texts[sample] = text
        bounds = [min(sum(self.rounds[: i + 1]), self.state.n) for i in range(len(self.rounds))]
        if len(texts) not in bounds or len(texts) == self.state.n:
            return []
        classes = Counter(self.state.class_of(question, text) for text in texts.values())
        left = self.state.n - len(texts)
        if not any(classes[c] + left >= self.state.needed for c in self.wanted[question.relation]):
            return []
        following = next((b for b in bounds if b > len(texts)), self.state.n)
        return [(index, s) for s in range(len(texts), following)]


class _Sampler:
    """Draws a plan's samples from a local model."""

    def __init__(
        self,
        model: "LanguageModel",
        prompts: list[list[int]],
        sampling: "Sampling",
        stops: frozenset[int],
        max_rows: int,
    ) -> None:
        from hneurons.models.prompts import common_prefix
        from hneurons.models.sampling import prefill_shared

        self.model, self.sampling, self.stops, self.max_rows = model, sampling, stops, max_rows
        self.prefix = common_prefix(prompts)
        positions = max(map(len, prompts)) + 2 * sampling.max_new_tokens
        if positions > model.attention_window:
            self.prefix = []  # the masked gap behind a shared prefix would push part of it out of the window
        self.prefix_cache = prefill_shared(model, self.prefix)

    def draw(self, plan: _Plan, prompts: list[list[int]]) -> list[Response]:
        from hneurons.models.sampling import Branch, Prompts, generate

        prefilled = Prompts(self.model, prompts, self.prefix, self.prefix_cache, self.sampling.top_k)
        drawn: list[Response] = []

        def branch(index: int, sample: int) -> Branch:
            return Branch(index, (plan.chunk[index].id, sample))

        def on_done(done: "Branch", generation: "Generation") -> list[Branch]:
            sample = int(done.seed_parts[1])
            text = decode_answer(self.model, generation.token_ids, self.stops)
            drawn.append(
                Response(
                    plan.chunk[done.prompt].id,
                    sample,
                    text,
                    generation.token_ids,
                    generation.logprobs,
                    generation.finish_reason,
                )
            )
            return [branch(*pair) for pair in plan.after(done.prompt, sample, text)]

        first = [branch(*pair) for pair in plan.first_round()]
        generate(self.model, prefilled, first, self.sampling, self.stops, on_done=on_done, max_rows=self.max_rows)
        order = {q.id: i for i, q in enumerate(plan.chunk)}
        return sorted(drawn, key=lambda r: (order[r.question_id], r.sample))


def decode_answer(model: "LanguageModel", token_ids: Sequence[int], stops: frozenset[int]) -> str:
    """Text of generated ids without the stop token, stripped; for base models what precedes the line break."""
    ids = list(token_ids)
    if ids and ids[-1] in model.stop_ids:
        ids.pop()
    text = str(model.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
    if stops - model.stop_ids:
        text = text.split("\n", 1)[0]
    return text.strip()
