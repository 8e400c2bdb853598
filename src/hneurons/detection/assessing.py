"""Stage `score`: answers that exist -> a detector's risk for each answer and each of its tokens.

Whoever wrote an answer, the model reads it behind its prompt, and the detector measures what it measures of the model's
own answers. Scores that need nothing but the text and its log-probabilities come from the same pass.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hneurons.answers.locating import FINDERS, Finder
from hneurons.answers.token_offsets import encode_text, own_offsets, text_ids, token_span
from hneurons.core.artifacts import RowStore
from hneurons.core.errors import InputError, PromptTooLongError
from hneurons.core.progress import progress
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Example, Question, Response, Span
from hneurons.detection.answer_rows import AnswerRows
from hneurons.detection.assessment import Answer, Assessment, Assessments, TokenRisk, probability
from hneurons.detection.decisions.deciding import Decisions
from hneurons.detection.decisions.drift import DriftMonitor, describe_drift
from hneurons.detection.detector import Detector
from hneurons.detection.scores.score import SCORES, PlainScore
from hneurons.detection.token_scores import TokenScores
from hneurons.models.endpoint import Endpoint
from hneurons.models.kv_cache import PrefixPast
from hneurons.models.language_model import LanguageModel
from hneurons.models.prompts import PromptStyle, common_prefix, encode_turns
from hneurons.sparse.matrix import ArrayMatrix

STAGE = "score"
CHUNK = 256
"""Answers that are committed together."""
_OTHER_IDS = "the token ids do not decode to the response"


def assess_answers(
    model: LanguageModel,
    detector: Detector,
    answers: Sequence[Answer],
    *,
    style: PromptStyle | None = None,
    finder: str = "response",
    endpoint: Endpoint | None = None,
    decisions: Decisions | None = None,
    batch_size: int = 16,
    out: Path | None = None,
) -> Assessments:
    """Score answers that exist, as `evaluate` scores those of a run.

    `style` is how questions were put when the detector was fitted, which detectors remember. `finder` finds the short
    answer in each response, as it did then. An answer that cannot be scored gets a `problem` in words and no number.
    `decisions` are what was learned on labelled answers, such as a calibration. Resumable with `out`; Ctrl-C keeps
    every finished batch.

    Raises `InputError`:

    - for a detector of another model, or without neurons;
    - where no `style` is given and the detector does not remember its prompts;
    - for ids that stand for several answers, and a finder without the endpoint it needs.
    """
    style = style or detector.style
    how = FINDERS.get(finder)
    if how.needs_endpoint and endpoint is None:
        raise InputError(f"the finder '{finder}' needs an endpoint: give its url and model")
    repeated = [name for name, count in Counter(answer.id for answer in answers).items() if count > 1]
    if repeated:
        raise InputError(f"the id '{repeated[0]}' stands for several answers: give each an id of its own")
    decisions = decisions or Decisions()
    reader = _Reader(model, detector, style, batch_size)
    decisions.check(reader.rivals)
    settings = {
        "model": model.identity.to_row(),
        "detector": detector.content,
        "style": style.to_row(),
        "finder": {"name": finder, "version": how.version, **_asked_finder(how, endpoint)},
        "scores": {name: score.version for name, score in reader.rivals.items()},
        "batch_size": batch_size,
        **model.dtype_setting,
        **decisions.settings(),
    }
    chunks = [answers[first : first + CHUNK] for first in range(0, len(answers), CHUNK)]
    inputs = {"answers": fingerprint([answer.to_row() for answer in answers])}
    store = RowStore(out, stage=STAGE, settings=settings, inputs=inputs, expected=len(chunks))
    monitor = None if store.complete else decisions.watch(map(Assessment.from_row, store.rows))
    with progress("score", len(answers), done=len(store.rows)) as advance:
        for chunk in chunks[store.done :]:
            found = _read_pending(store)
            try:
                for assessment in reader.read(chunk, how, endpoint, advance, dict(found)):
                    found[assessment.id] = assessment
            except BaseException:
                store.put_aside([one.to_row() for one in found.values()])
                raise
            store.commit([decisions.apply(found[answer.id], monitor).to_row() for answer in chunk])
    rows = [Assessment.from_row(row) for row in store.rows]
    if not store.complete:
        store.finish(
            {
                "answers": len(rows),
                "scored": sum(not row.problem for row in rows),
                "made_up": sum(bool(row.made_up) for row in rows),
                "text_encoded_here": sum(not row.own_tokens for row in rows if not row.problem),
                "problems": dict(Counter(row.problem for row in rows if row.problem)),
                **_count_decisions(rows),
                **decisions.sentences(),
                **_describe_watch(decisions, monitor, len(rows)),
            }
        )
    return Assessments(rows, store.manifest)


def _read_pending(store: RowStore) -> dict[str, Assessment]:
    """By id, what an earlier call had finished of a chunk when it was stopped; where that is damaged, nothing."""
    rows, store.pending = store.pending, []
    try:
        return {one.id: one for one in map(Assessment.from_row, rows)}
    except ValueError:
        return {}


def _count_decisions(rows: Sequence[Assessment]) -> dict[str, dict[str, int]]:
    found = Counter[str](row.decision for row in rows if row.decision)
    acted = Counter[str](row.action for row in rows if row.action)
    counts = {"decisions": {name: found[name] for name in ("answer", "abstain")}} if found else {}
    return counts | ({"actions": dict(acted)} if acted else {})


def _describe_watch(decisions: Decisions, monitor: DriftMonitor | None, answers: int) -> dict[str, Any]:
    if monitor is None or decisions.guarantee is None or answers < 2:  # a single answer tells nothing
        return {}
    found = monitor.state
    return {"drift": {**found.to_row(), "alarm": found.alarm, "said": describe_drift(found, decisions.guarantee.data)}}


def _asked_finder(how: type[Finder], endpoint: Endpoint | None) -> dict[str, str]:
    """Which model finds the answers, where one is asked: another one finds others."""
    return {"model": endpoint.model} if how.needs_endpoint and endpoint is not None else {}


class _Ready(NamedTuple):
    """An answer as token ids, with the characters of its tokens and the tokens of its short answer."""

    answer: Answer
    example: Example
    prompt: list[int]
    offsets: list[Span]


class _Reader:
    """Runs prepared answers in batches of similar length and reads detector and log-probabilities from each pass."""

    def __init__(self, model: LanguageModel, detector: Detector, style: PromptStyle, batch_size: int) -> None:
        self.model, self.detector, self.style, self.batch_size = model, detector, style, batch_size
        self.scores = TokenScores(model, detector, split=True)
        self.rivals = {
            name: score for name in sorted(SCORES) if isinstance(score := SCORES.get(name)(), PlainScore)
            and score.needs in ("text", "log-probabilities")
        }  # fmt: skip

    def read(
        self, answers: Sequence[Answer], how: Any, endpoint: Endpoint | None, advance: Any, kept: dict[str, Assessment]
    ) -> Iterator[Assessment]:
        """Assessments of all answers, in the order in which they were run; batches that are `kept` are not run."""
        ready: list[_Ready] = []
        for answer in answers:
            prepared = self._prepare(answer)
            if isinstance(prepared, str):
                advance()
                yield _without_score(answer, prepared)
            else:
                ready.append(prepared)
        spans = how.find([one.example for one in ready], endpoint)
        located = []
        for one, span in zip(ready, spans, strict=True):
            tokens = token_span(one.offsets, span) if span else None
            if tokens is None:
                advance()
                yield _without_score(one.answer, "no short answer was found in the response")
            else:
                located.append(one._replace(example=replace(one.example, char_span=span, token_span=tokens)))
        if not located:
            return
        prefix = common_prefix([one.prompt for one in located]) if self.model.keeps_cache else []
        past = PrefixPast(self.model.decoder, prefix, self.model.device)
        located.sort(key=lambda one: len(one.prompt) + len(one.example.response.token_ids))
        for first in range(0, len(located), self.batch_size):
            batch = located[first : first + self.batch_size]
            known = all(one.answer.id in kept for one in batch)
            yield from [kept[one.answer.id] for one in batch] if known else self._run(batch, past)
            advance(len(batch))

    def _prepare(self, answer: Answer) -> _Ready | str:
        """The answer as token ids, or in words why it cannot be scored."""
        if not answer.response.strip():
            return "the response is empty"
        # Offsets take time that grows with the square of the length, so what is too long is told before them.
        if len(answer.token_ids or text_ids(self.model.tokenizer, answer.response) or ()) >= self.model.window:
            return self._too_long
        ids: tuple[int, ...]
        if answer.token_ids:
            if max(answer.token_ids) >= self.model.text_config.vocab_size:
                return _OTHER_IDS
            places = own_offsets(self.model.tokenizer, answer.token_ids, answer.response)
            if places is None:
                return _OTHER_IDS
            ids, offsets = answer.token_ids, places
        else:
            encoded = encode_text(self.model.tokenizer, answer.response)
            if encoded is None:
                return "the tokenizer cannot encode the response"
            ids, offsets = encoded
        try:
            prompt = self._encode(answer, len(ids))
        except PromptTooLongError:
            return self._too_long
        except InputError as error:  # a chat template that refuses these turns
            return str(error)
        except (TypeError, UnicodeError):  # lone surrogates, as in `encode_text`
            return "the tokenizer cannot encode the prompt"
        asked = answer.messages[-1][1] if answer.messages else answer.question
        response = Response(answer.id, 0, answer.response, ids, (), answer.finish_reason)
        return _Ready(answer, Example(Question(answer.id, asked, ()), response, "unscored", "test"), prompt, offsets)

    @property
    def _too_long(self) -> str:
        return f"prompt and response are longer than the model's window of {self.model.window} tokens"

    def _encode(self, answer: Answer, room: int) -> list[int]:
        if not answer.messages:
            question = f"{answer.context}\n\n{answer.question}" if answer.context else answer.question
            return self.model.encode(question, self.style, room=room)
        prompt = encode_turns(self.model.tokenizer, answer.messages)
        if len(prompt) + room > self.model.window:
            raise PromptTooLongError("the conversation is longer than the window")
        return prompt

    @torch.inference_mode()
    def _run(self, batch: Sequence[_Ready], past: PrefixPast) -> Iterator[Assessment]:
        device, start = self.model.device, past.length
        begins = [len(one.prompt) - start for one in batch]
        rows = [[*one.prompt[start:], *one.example.response.token_ids] for one in batch]
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
        kept = range(min(begins) - 1, max(map(len, rows)) - 1)
        handles = self.scores.attach()
        self.scores.reading = True
        try:
            # Right padding needs no attention mask: causal attention keeps it from earlier tokens.
            logits = self.model.logits_at(ids, kept, past.inputs(len(rows), width))
        finally:
            self.scores.reading = False
            for handle in handles:
                handle.remove()
        scores = self.scores.take().reshape(len(rows), width).double().cpu().numpy()
        parts = self.scores.take_parts().reshape(len(rows), width, -1)
        examples = []
        for place, (one, row) in enumerate(zip(batch, rows, strict=True)):
            first = begins[place] - 1 - kept.start
            said = ids[place, begins[place] : len(row)]
            logprobs, entropies = _read_logits(logits[place, first : first + len(said)], said)
            response = replace(one.example.response, logprobs=logprobs, entropies=entropies)
            examples.append(replace(one.example, response=response))
        rivals = self._rivals(examples)
        for place, (one, example) in enumerate(zip(batch, examples, strict=True)):
            own = scores[place, begins[place] : len(rows[place])]
            found = self._assess(one, example, own, {name: float(values[place]) for name, values in rivals.items()})
            assert example.token_span is not None
            first, last = (begins[place] + end for end in example.token_span)
            added = parts[place, first:last].double().mean(dim=0).tolist()
            yield replace(found, contributions=tuple(round(value, 5) for value in added))

    def _assess(self, one: _Ready, example: Example, own: Any, scores: dict[str, float]) -> Assessment:
        intercept, span = self.detector.intercept, example.token_span
        assert span is not None
        log_odds = intercept + float(np.mean(own[slice(*span)]))
        tokens = tuple(
            TokenRisk(*place, round(intercept + float(score), 4), logprob)
            for place, score, logprob in zip(one.offsets, own, example.response.logprobs, strict=True)
        )
        return Assessment(
            id=one.answer.id,
            log_odds=log_odds,
            risk=probability(log_odds),
            made_up=log_odds > self.detector.threshold,
            span=example.char_span,
            tokens=tokens,
            scores=scores,
            own_tokens=bool(one.answer.token_ids),
        )

    def _rivals(self, examples: list[Example]) -> dict[str, Any]:
        """Values of the scores that read text and log-probabilities alone."""
        matrix = ArrayMatrix(np.zeros((len(examples), 0), dtype=np.float32))
        groups = [example.question.group for example in examples]
        rows = AnswerRows(examples, np.zeros(len(examples), dtype=bool), groups, matrix)
        return {name: score.values(rows) for name, score in self.rivals.items() if not score.lacks(rows)}


def _read_logits(logits: Tensor, ids: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Log-probabilities of `ids` [tokens] and entropies, in nats, from the logits [tokens, vocabulary] before them."""
    logs = torch.log_softmax(logits.float(), dim=-1)
    chosen, entropy = logs.gather(1, ids[:, None])[:, 0], -(logs.exp() * logs).sum(dim=-1)
    return tuple(round(value, 4) for value in chosen.tolist()), tuple(round(value, 4) for value in entropy.tolist())


def _without_score(answer: Answer, problem: str) -> Assessment:
    return Assessment(answer.id, math.nan, math.nan, None, None, (), {}, bool(answer.token_ids), problem)
