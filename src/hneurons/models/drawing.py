"""Replies to many prompts at once: what the prompts share is run once, and each reply may be steered in its own way."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from hneurons.models.kv_cache import Past
from hneurons.models.language_model import LanguageModel
from hneurons.models.prefill import Prompts, Steering, prefill_shared
from hneurons.models.prompts import common_prefix
from hneurons.models.sampling import Branch, Generation, Sampling, generate


class Talks:
    """What conversations left in the cache, each under a name of its own, so that their next turns run less.

    It holds at most `positions` in all; what would be more is not kept, and is run again.
    """

    def __init__(self, positions: int) -> None:
        self.positions = positions
        self._pasts: dict[Hashable, Past] = {}

    def put(self, name: Hashable, past: Past) -> None:
        """Keep the past of a conversation in place of its earlier one, if there is room."""
        self._pasts.pop(name, None)
        if sum(len(kept.ids) for kept in self._pasts.values()) + len(past.ids) <= self.positions:
            self._pasts[name] = past

    def find(self, names: Mapping[tuple[int, int], Hashable]) -> dict[tuple[int, int], Past]:
        """The pasts that are kept of these conversations, by (prompt, condition)."""
        return {place: self._pasts[name] for place, name in names.items() if name in self._pasts}


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
    pasts: Mapping[tuple[int, int], Past] | None = None,
    keep: Callable[[Branch, Past], None] | None = None,
    max_rows: int = 128,
) -> None:
    """Draw every branch and hand it to `on_done`, as `generate` does; with `steering`, which has `conditions`.

    `steering` has to be open. `pasts` and `keep` are as for `Prompts` and `generate`.
    """
    prefix = common_prefix(prompts)
    reaches_all = steering is not None and steering.reach is None
    if reaches_all and sum(len(past.ids) for past in (pasts or {}).values()) > len(prefix) * len(branches):
        prefix, conditions = [], 1  # each past has a prefix of its own, under its own condition
    cache = prefill_shared(model, prefix, steering=steering, conditions=conditions)
    ready = Prompts(model, prompts, prefix, cache, sampling.top_k, steering=steering, pasts=pasts)
    generate(model, ready, branches, sampling, stops, on_done=on_done, keep=keep, max_rows=max_rows)
