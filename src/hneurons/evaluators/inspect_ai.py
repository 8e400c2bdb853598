"""Inspect AI finds us here: the model provider `hneurons/MODEL` and a task `hneurons/BENCHMARK` for each benchmark."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hneurons.benchmarks import BENCHMARKS, load_items
from hneurons.core.errors import HNeuronsError, InputError, MissingExtraError

try:
    from inspect_ai import Task, task
    from inspect_ai._util.error import PrerequisiteError  # the one error Inspect shows without a traceback
    from inspect_ai.model import GenerateConfig, ModelAPI, modelapi
    from inspect_ai.scorer import mean, stderr
except ImportError as error:
    raise MissingExtraError("inspect-ai", "inspect", "Inspect AI") from error

from hneurons.evaluators.inspect_samples import converse, make_sample, verdict
from hneurons.evaluators.steering import check_count


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn our errors into Inspect's error for what the user can mend, which its command line shows as one sentence."""
    try:
        yield
    except HNeuronsError as error:
        raise PrerequisiteError(str(error)) from error


@modelapi(name="hneurons")
def provider() -> Callable[..., ModelAPI]:
    """The provider's class, imported when a model of ours is asked for."""
    from hneurons.evaluators.inspect_provider import HNeuronsAPI

    def create(**arguments: Any) -> ModelAPI:
        with plain_errors():
            return HNeuronsAPI(**arguments)

    return create


def benchmark_task(
    name: str,
    *,
    file: str | Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    judge_url: str | None = None,
    judge_model: str = "default",
) -> Task:
    """A benchmark as an Inspect task: its items (ids kept), turns, decoding and grading.

    file, limit, seed: as for `load_items`. judge_url, judge_model: an OpenAI-compatible endpoint that grades in place
    of the benchmark's rule. The metric `mean` is the rate of the benchmark's outcome among what could be graded.

    Raises `PrerequisiteError` in one sentence for an unknown benchmark, one that generates nothing, bad files, or other
    arguments that are none.
    """
    with plain_errors():
        check_count("limit", limit)
        if not isinstance(seed, int):
            raise InputError(f"seed should be a whole number, found '{seed}'")
        files = [str(path) for path in file] if isinstance(file, list | tuple) else [str(file)] if file else []
        benchmark, items = load_items(f"{name}:{','.join(files)}" if files else name, limit=limit, seed=seed)
        if benchmark.scores_text:
            raise InputError(f"'{name}' scores texts and generates nothing: Inspect cannot run it, hneurons bench can")
        graded = verdict(name, judge_url=judge_url, judge_model=judge_model)
    drawn = benchmark.temperature > 0
    grouped = any(item.group for item in items)
    return Task(
        dataset=[make_sample(item) for item in items],
        solver=converse(name, seed=seed),
        scorer=graded,
        metrics=[mean(), stderr(cluster="group") if grouped else stderr()],
        config=GenerateConfig(
            temperature=benchmark.temperature,
            max_tokens=benchmark.max_new_tokens,
            top_k=benchmark.top_k if drawn else None,
            top_p=benchmark.top_p if drawn else None,
        ),
        name=name,
        version=benchmark.version,
        metadata={"outcome": benchmark.outcome},
    )


def _register(name: str) -> Callable[..., Task]:
    def build(
        file: str | list[str] | None = None,
        limit: int | None = None,
        seed: int = 0,
        judge_url: str | None = None,
        judge_model: str = "default",
    ) -> Task:
        return benchmark_task(
            name, file=file, limit=limit, seed=seed, judge_url=judge_url, judge_model=judge_model
        )  # fmt: skip

    build.__doc__ = BENCHMARKS.summaries()[name]
    registered: Callable[..., Task] = task(name=name)(build)
    return registered


TASKS = {name: _register(name) for name in BENCHMARKS if not BENCHMARKS.get(name).scores_text}
