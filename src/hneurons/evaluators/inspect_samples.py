"""Items of a benchmark as Inspect samples: the conversation about one, and the score of its last reply."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageUser, get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver

from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.benchmarks import BENCHMARKS, Benchmark, Item
from hneurons.benchmarks.benchmark import grade_replies
from hneurons.core.seeds import derive_seed
from hneurons.core.types import Question
from hneurons.evaluators.inspect_provider import UNSCALED, HNeuronsAPI
from hneurons.models.endpoint import open_endpoint
from hneurons.records.record import Record

if TYPE_CHECKING:
    from hneurons.models.endpoint import Endpoint

_SEEDS = 1 << 31


def make_sample(item: Item) -> Sample:
    """The item with its id. Its metadata hold the whole item, so that a log can be scored again by itself."""
    turns: list[ChatMessage] = [
        ChatMessageAssistant(content=text) if place % 2 else ChatMessageUser(content=text)
        for place, text in enumerate(item.turns)
    ]
    answers = list(item.question.answers) if item.question is not None else []
    return Sample(
        id=item.id,
        input=item.turns[0] if len(turns) == 1 else turns,
        target=answers or item.key or "",
        metadata={"item": asdict(item), "group": item.group or item.id},
    )


def read_item(metadata: dict[str, Any]) -> Item:
    """The item in a sample's metadata."""
    row = metadata["item"]
    question = row["question"] and Question.from_row(row["question"])
    return Item(**{**row, "turns": tuple(row["turns"]), "question": question})


@solver
def converse(benchmark: str, seed: int = 0) -> Solver:
    """Ask the item, and say what the benchmark says after each reply, until it says nothing more.

    Random decoding is seeded by (seed, item, turn, epoch), so that runs with other alphas are paired. A first turn that
    belongs to the plain model is asked of ours without scaling.
    """
    asked = BENCHMARKS.get(benchmark)()

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        item = read_item(state.metadata)
        ours = isinstance(get_model().api, HNeuronsAPI)
        replies: list[str] = []
        while True:
            turn = len(replies)
            options: dict[str, Any] = {}
            if asked.temperature > 0:
                options["seed"] = derive_seed(seed, benchmark, item.id, turn, state.epoch) % _SEEDS
            if turn == 0 and asked.first_turn_unscaled and ours:
                options["extra_body"] = UNSCALED
            state = await generate(state, **options)
            replies.append(state.output.completion)
            said = asked.next_turn(item, [cut_reasoning(reply).text for reply in replies])
            if said is None:
                return state
            state.messages.append(ChatMessageUser(content=said))

    return solve


@scorer(metrics=[mean(), stderr()])
def verdict(benchmark: str, judge_url: str | None = None, judge_model: str = "default") -> Scorer:
    """The benchmark's outcome, 1 or 0. What cannot be graded is unscored, with the reason, and in no metric."""
    import anyio

    graded_by = BENCHMARKS.get(benchmark)()
    endpoint = open_endpoint(judge_url and str(judge_url), str(judge_model))  # Inspect makes numbers of digits
    judge = graded_by.judge_name(endpoint)

    async def score(state: TaskState, target: Target) -> Score:
        item = read_item(state.metadata)
        said = [message.text for message in state.messages if message.role == "assistant"]
        replies = said[len(item.turns) // 2 :]
        record = _record_of(item, state, replies[-1] if replies else "")
        graded = await anyio.to_thread.run_sync(_grade, graded_by, item, record, replies or [""], endpoint)
        return _score_of(graded, judge)

    return score


def _grade(
    benchmark: Benchmark, item: Item, record: Record, replies: Sequence[str], endpoint: "Endpoint | None"
) -> Record:
    return grade_replies(benchmark, [(item, record, replies)], endpoint)[0]


def _record_of(item: Item, state: TaskState, reply: str) -> Record:
    usage, metadata = state.output.usage, state.output.metadata or {}
    return Record(
        id=item.id,
        condition="",
        alpha=metadata.get("alpha", 1.0),
        response=reply,
        chars=len(reply),
        n_tokens=usage.output_tokens if usage is not None else None,
        finish_reason="length" if state.output.stop_reason in ("max_tokens", "model_length") else "stop",
        group=item.group,
    )


def _score_of(record: Record, judge: str) -> Score:
    about = {
        "verdict": record.judge,
        "parse": record.parse,
        "choice": record.choice,
        "judge": judge,
        "finish_reason": record.finish_reason,
        "alpha": record.alpha,
        "unscored": record.error if record.outcome is None else None,
    }
    if record.outcome is None:
        return Score.unscored(reason=record.error, answer=record.choice or record.response, metadata=about)
    return Score(value=record.outcome, answer=record.choice or record.response, metadata=about)
