"""Stage `sample`: questions -> responses, drawn in rounds that stop as soon as a question cannot be consistent."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hneurons.core.artifacts import RowStore, load_rows
from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.files import stored_errors
from hneurons.core.progress import progress
from hneurons.core.seeds import fingerprint
from hneurons.core.showing import one_line
from hneurons.core.timing import Clock
from hneurons.core.types import Question, Response, Verdict
from hneurons.core.wording import count

if TYPE_CHECKING:
    from hneurons.models.endpoint import Endpoint
    from hneurons.models.engine import Ask, Engine, Reply
    from hneurons.models.language_model import LanguageModel
    from hneurons.models.prompts import PromptStyle
    from hneurons.models.sampling import Sampling

STAGE = "responses"
LEAD = 32  # how far one class may be ahead of the other, shared out over the relations
MANY = 8  # so many questions whose samples are all the same are no accident
_log = logging.getLogger(__name__)


class Judged(Protocol):
    @property
    def verdict(self) -> Verdict: ...


Judge = Callable[[Question, str], Judged]


class Responses(NamedTuple):
    """Responses in question order, then sample order; and how the prompts they answer were written."""

    responses: list[Response]
    style: "PromptStyle"
    summary: dict[str, Any]

    def __repr__(self) -> str:
        asked = len({response.question_id for response in self.responses})
        cut = sum(response.finish_reason == "length" for response in self.responses)
        return one_line(self, f"{len(self.responses)} to {count(asked, 'question')}", f"{cut} truncated")


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

    UnknownBench NEC asks about invented things beside real ones without known answers. In such a set a confident answer
    about a real thing stands for the right ones: the contrast is then invented against real.
    """

    def __init__(self, questions: Iterable[Question]) -> None:
        self.invented = any(not question.answerable for question in questions)

    def of(self, question: Question, verdict: Verdict, text: str) -> bool | None:
        if self.invented and question.answerable and not question.answers and verdict == "unscored" and text:
            return False
        return is_hallucination(question, verdict)


def sample_responses(
    model: "LanguageModel | Engine",
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
    extra: int = 0,
    max_rows: int = 128,
    out: Path | None = None,
) -> Responses:
    """Draw up to `n` responses a question (arXiv 2512.01797, section 2.1) from a local model or any other engine.

    Without a judge all `n` are drawn. With a `judge`, sampling goes in `rounds` and ends early in three ways:

    - at a question, as soon as neither class can reach `min_agreement` (default: all `n`);
    - for a class that is far ahead of the other in its relation (`LEAD`) or has reached `quota`;
    - altogether, once `quota` consistent questions a class are there.

    `extra` further samples of every question asked, numbered from `n` on, are drawn in any case and decide nothing.
    What is drawn for a sample depends only on (seed, question id, sample). Resumable with `out`. Ctrl-C and a lost
    endpoint keep every finished answer; a killed process loses those of its chunk. `judge_version` counts changes of
    the judge's rules, which decide where sampling stops: responses stopped by other rules are refused. `max_rows` is
    for a local model. Where an engine gives no token ids, the summary counts the questions whose samples are all
    `identical`, with a warning where all are: its server may ignore the temperature.

    Raises `InputError` for unusable arguments, `NotEnoughDataError` without questions, `PromptTooLongError`,
    `EndpointError` when an endpoint is lost, with all finished answers kept, and `StorageError`.
    """
    from hneurons.models.engine import LocalEngine, RecordedEngine
    from hneurons.models.language_model import LanguageModel
    from hneurons.models.prompts import PromptStyle
    from hneurons.models.sampling import Sampling

    engine: Engine = LocalEngine(model, max_rows=max_rows) if isinstance(model, LanguageModel) else model
    sampling, style, needed = sampling or Sampling(), style or PromptStyle(), min_agreement or n
    if min(n, extra + 1) < 1:
        raise InputError(f"at least one sample a question is needed, got n = {n}")
    if not n / 2 < needed <= n:
        raise InputError(f"min-agreement must be more than half of n and at most n = {n}, got {needed}")
    if not questions:
        raise NotEnoughDataError("there are no questions to ask: give a question set that is not empty")
    settings = {**engine.settings(sampling), "style": style.to_row(), "n": n, **({"extra": extra} if extra else {})}
    if judge or engine.counts_tokens:
        settings |= {
            "judge": getattr(judge, "__name__", None),
            "judge_version": judge_version,
            "rounds": rounds if judge else (n,),
            "min_agreement": needed,
            "quota": quota,
        }
    chunks = [list(questions[i : i + engine.chunk]) for i in range(0, len(questions), engine.chunk)]
    inputs = {"questions": fingerprint([q.to_row() for q in questions])}
    store = RowStore(out, stage=STAGE, settings=settings, inputs=inputs, expected=len(chunks))
    if not store.complete:
        kept = _read_pending(store)
        source = RecordedEngine(kept, settings, missing=engine) if kept else engine
        answering = source.prepare(questions, style, sampling)
        state = _Progress(questions, n, needed, quota, judge)
        state.count([Response.from_row(row) for row in store.rows])
        clock = Clock(out, done=store.done)
        asked = min(store.done * engine.chunk, len(questions))
        with progress("sample", len(questions), done=asked) as advance:
            for chunk in chunks[store.done :]:
                if state.full():
                    break
                plan = _Plan(chunk, rounds if judge else (n,), state, extra)
                start = time.perf_counter()
                try:
                    answering.draw(plan.first_round(), partial(_take, plan, advance))
                except BaseException:  # Ctrl-C, or an endpoint that was lost
                    store.put_aside([r.to_row() for r in plan.responses()])
                    raise
                drawn = plan.responses()
                if source is engine:  # a record takes no time
                    clock.add(STAGE, time.perf_counter() - start, len(drawn), 0.0)
                store.commit([r.to_row() for r in drawn])
                clock.save()
                state.count(drawn)
                advance(0, state.note())
        found = [Response.from_row(row) for row in store.rows]
        asked = min(store.done * engine.chunk, len(questions))
        store.finish(_summary(engine, found, n, {"questions": len(questions), "asked": asked}))
    responses, summary = [Response.from_row(row) for row in store.rows], store.manifest.summary
    if sampling.temperature > 0 and n > 1 and summary.get("identical", 0) == len(questions) >= MANY:
        _log.warning(
            "all %d samples of each of %d questions are the same: %s seems to ignore the temperature "
            "(transformers serve does where the model's generation_config.json does not say do_sample)",
            n,
            len(questions),
            engine.name,
        )
    return Responses(responses, style, summary)


def _read_pending(store: RowStore) -> list[Response]:
    """Answers of a call that was stopped inside a chunk. Where one is no answer, all are drawn again."""
    try:
        return [Response.from_row(row) for row in store.pending]
    except (ValueError, TypeError):
        return []


def _take(plan: "_Plan", advance: Callable[..., None], ask: "Ask", reply: "Reply") -> "list[Ask]":
    """Note an answer, go forward where it was its question's last, and say what to ask next."""
    following = plan.after(ask, reply)
    if not plan.waiting[ask.question.id]:
        advance(1)
    return following


def sample_endpoint(
    questions: Sequence[Question],
    endpoint: "Endpoint",
    *,
    n: int = 10,
    temperature: float = 1.0,
    top_p: float = 0.9,
    top_k: int | None = None,
    max_tokens: int = 50,
    seed: int = 0,
    style: "PromptStyle | None" = None,
    out: Path | None = None,
) -> Responses:
    """`sample_responses` from an endpoint: `top_k` is sent only where given, and all `n` are drawn."""
    from hneurons.models.engine import EndpointEngine
    from hneurons.models.sampling import Sampling

    sampling = Sampling(temperature, top_k, top_p, max_tokens, seed)
    return sample_responses(EndpointEngine(endpoint), questions, n=n, sampling=sampling, style=style, out=out)


def _summary(engine: "Engine", responses: list[Response], n: int, counts: dict[str, int]) -> dict[str, Any]:
    drawn = group_by_question(responses).values()
    summary = {
        **counts,
        "responses": len(responses),
        "truncated": sum(r.finish_reason == "length" for r in responses),
    }
    if engine.counts_tokens:
        summary["tokens"] = sum(len(r.token_ids) for r in responses)
        summary["stopped_early"] = sum(len(rs) < n for rs in drawn)
    else:
        summary["identical"] = sum(len({r.text for r in rs}) == 1 for rs in drawn)
        summary["with_logprobs"] = sum(bool(r.logprobs) for r in responses)
        summary["with_entropies"] = sum(bool(r.entropies) for r in responses)
    return summary


def load_responses(folder: Path) -> Responses:
    """Read a finished `sample` folder. Raises `InputError` or `ArtifactError`."""
    from hneurons.models.prompts import PromptStyle

    manifest, rows = load_rows(folder, stage=STAGE)
    with stored_errors(folder):
        style = PromptStyle.from_row(manifest.settings["style"])
        return Responses([Response.from_row(row) for row in rows], style, manifest.summary)


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
        for question_id, drawn in group_by_question(r for r in responses if r.sample < self.n).items():
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
        return f"{right} right, {wrong} wrong" if self.judge else ""


class _Plan:
    """Which samples of one chunk's questions to draw next, decided when a round of a question is complete."""

    def __init__(self, chunk: list[Question], rounds: tuple[int, ...], state: _Progress, extra: int) -> None:
        self.chunk, self.state, self.extra = chunk, state, extra
        self.bounds = [min(sum(rounds[: i + 1]), state.n) for i in range(len(rounds))]
        self.wanted = {relation: state.wanted(relation) for relation in {q.relation for q in chunk}}
        self.drawn: dict[str, dict[int, Response]] = {question.id: {} for question in chunk}
        self.waiting = Counter({question.id: self.bounds[0] + extra for question in chunk})

    def first_round(self) -> "list[Ask]":
        from hneurons.models.engine import Ask

        samples = [*range(self.bounds[0]), *range(self.state.n, self.state.n + self.extra)]
        return [Ask(question, sample) for question in self.chunk for sample in samples]

    def after(self, ask: "Ask", reply: "Reply") -> "list[Ask]":
        """What to ask once this answer is known."""
        question_id = ask.question.id
        self.drawn[question_id][ask.sample] = reply.to_response(ask)
        following = self._following(ask)
        self.waiting[question_id] += len(following) - 1
        return following

    def _following(self, ask: "Ask") -> "list[Ask]":
        question = ask.question
        drawn = {sample: kept for sample, kept in self.drawn[question.id].items() if sample < self.state.n}
        if ask.sample not in drawn or len(drawn) not in self.bounds or len(drawn) == self.state.n:
            return []
        classes = Counter(self.state.class_of(question, response.text) for response in drawn.values())
        left = self.state.n - len(drawn)
        if not any(classes[c] + left >= self.state.needed for c in self.wanted[question.relation]):
            return []
        following = next((bound for bound in self.bounds if bound > len(drawn)), self.state.n)
        return [ask._replace(sample=sample) for sample in range(len(drawn), following)]

    def responses(self) -> list[Response]:
        """In question order, then sample order."""
        return [
            self.drawn[question.id][sample] for question in self.chunk for sample in sorted(self.drawn[question.id])
        ]
