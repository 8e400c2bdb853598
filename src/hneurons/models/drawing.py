"""Replies to many prompts at once: what the prompts share is run once, and each reply may be steered in its own way."""

from collections.abc import Callable, Iterable, Sequence

from hneurons.models.language_model import LanguageModel
from hneurons.models.prompts import common_prefix
from hneurons.models.sampling import Branch, Generation, Prompts, Sampling, Steering, generate, prefill_shared


def draw_steered(
    model: LanguageModel,
    prompts: list[list[int]],
    branches: Sequence[Branch],
    sampling: Sampling,
    stops: frozenset[int],
    *,
    on_done: Callable[[Branch, Generation], Iterable[Branch]],
    steering: Steering | None = None,
    conditions: int = 1,
    max_rows: int = 128,
) -> None:
    """Draw every branch and hand it to `on_done`, as `generate` does; with `steering`, which has `conditions`.

    `steering` has to be open.
    """
    prefix = common_prefix(prompts)
    cache = prefill_shared(model, prefix, steering=steering, conditions=conditions)
    ready = Prompts(model, prompts, prefix, cache, sampling.top_k, steering=steering)
    generate(model, ready, branches, sampling, stops, on_done=on_done, max_rows=max_rows)
