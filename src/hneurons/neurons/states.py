"""Stage `states`: located examples -> the residual stream, the neurons before the answer, and token entropies.

One forward pass an example gives all three. Other scores than the detector read them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hneurons.core.artifacts import Manifest, RowStore, load_rows
from hneurons.core.errors import CaptureError, NotEnoughDataError
from hneurons.core.files import stored_errors
from hneurons.core.progress import progress
from hneurons.core.rows import from_row
from hneurons.core.seeds import fingerprint
from hneurons.core.timing import Clock
from hneurons.core.types import Example, identify
from hneurons.neurons.readable import keep_readable
from hneurons.neurons.signals import CETT, SIGNALS
from hneurons.sparse.matrix import ArrayMatrix, ColumnMatrix, ShardMatrix

if TYPE_CHECKING:
    from hneurons.models.language_model import LanguageModel
    from hneurons.models.prompts import PromptStyle

STAGE = "states"
Place = Literal["answer mean", "answer end", "question end"]
PLACES: tuple[Place, ...] = ("answer mean", "answer end", "question end")
"""Where the residual stream is read: mean over the answer's tokens, its last token, the prompt's last token."""
SHARD_EXAMPLES = 128
_LARGEST = float(np.finfo(np.float16).max)
Halves = NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class States:
    """What one pass over each example left, on disk (`folder`) or in memory.

    - `rows`: one dict an example, with `example_id`, `tokens` of the answer, and in nats the `mean_entropy` and
      `largest_entropy` of the distributions that its tokens were drawn from.
    - `residual`: "PLACE/LAYER" -> float16 [rows, hidden]. Layer 0 is the embedding, and the last is after the final
      norm. Values beyond float16 are stored as its largest.
    - `question`: float16 [rows, layers * neurons], the signal at the prompt's last token.
    """

    rows: list[dict[str, Any]]
    layers: int
    manifest: Manifest
    folder: Path | None = None
    residual: Mapping[str, Halves] | None = None
    question: Halves | None = None

    @property
    def content(self) -> str:
        """16 hex digits of what was measured."""
        return fingerprint([self.manifest.fingerprint, [row["example_id"] for row in self.rows]])

    @property
    def summary(self) -> dict[str, Any]:
        return self.manifest.summary

    def numbers(self, examples: Sequence[Example]) -> list[int] | None:
        """The row of each example; None where one has none."""
        places = {row["example_id"]: number for number, row in enumerate(self.rows)}
        found = [places.get(example.id) for example in examples]
        return None if None in found else [number for number in found if number is not None]

    def read(self, place: Place, layer: int, numbers: Sequence[int]) -> NDArray[np.float32]:
        """The residual stream of these rows, float32 [rows, hidden]."""
        name, chosen = f"{place}/{layer}", list(numbers)
        if self.residual is not None:
            return self.residual[name][chosen].astype(np.float32)
        from safetensors.numpy import safe_open

        assert self.folder is not None
        parts = []
        with stored_errors(self.folder):
            for path in sorted(self.folder.glob("residual-*.safetensors")):
                with safe_open(path, framework="numpy") as file:
                    parts.append(file.get_tensor(name))
        return np.concatenate(parts)[chosen].astype(np.float32)

    def before(self, numbers: Sequence[int]) -> ColumnMatrix:
        """The neurons' signal at the prompt's last token, of these rows."""
        if self.question is not None:
            return ArrayMatrix(self.question[list(numbers)])
        assert self.folder is not None
        return ShardMatrix(self.folder, list(numbers))


def measure_states(
    model: "LanguageModel",
    examples: Sequence[Example],
    *,
    style: "PromptStyle",
    signal: str = CETT,
    batch_size: int = 16,
    out: Path | None = None,
) -> States:
    """One forward pass over each example with a token span: see `States`. Resumable with `out`.

    Ctrl-C keeps every finished batch. `style` must be the one the responses were sampled with. Raises
    `NotEnoughDataError` when no example has a span or none can be read, `CaptureError`, `StorageError`.
    """
    located = [e for e in examples if e.token_span is not None]
    if not located:
        raise NotEnoughDataError(f"none of {len(examples)} examples has an answer span: run 'locate' first")
    layers = model.shape[0] + 1
    settings: dict[str, Any] = {
        "model": model.identity.to_row(), "style": style.to_row(), "signal": signal, "batch_size": batch_size,
        "places": PLACES, "layers": layers, **model.dtype_setting,
    }  # fmt: skip
    inputs = {"examples": identify(located)}
    readable = keep_readable(model, located, style)
    located, prompts = readable.examples, readable.prompts
    order = sorted(range(len(located)), key=lambda i: (len(prompts[i]) + len(located[i].response.token_ids), i))
    shards = [order[i : i + SHARD_EXAMPLES] for i in range(0, len(order), SHARD_EXAMPLES)]
    store = RowStore(out, stage=STAGE, settings=settings, inputs=inputs, expected=len(shards))
    if store.complete and out is not None:
        return load_states(out)
    reader = _Reader(model, located, prompts, signal)
    kept: list[tuple[dict[str, Halves], Halves]] = []
    done = sum(map(len, shards[: store.done]))
    clock = Clock(out, done=store.done)
    with progress("states", len(located), done=done) as advance:
        for number in range(store.done, len(shards)):
            shard, parts = shards[number], _read_pending(store)
            advance(sum(len(part.rows) for part in parts))
            try:
                for start in range(sum(len(part.rows) for part in parts), len(shard), batch_size):
                    batch = shard[start : start + batch_size]
                    with clock.time(STAGE, len(batch), passes=len(batch)):
                        parts.append(reader.read(batch))
                    advance(len(batch))
            except BaseException:
                _put_aside(store, parts)
                raise
            rows = [row for part in parts for row in part.rows]
            residual, question = _join(parts)
            if out is None:
                kept.append((residual, question.reshape(len(rows), -1)))
                store.commit(rows)
            else:
                store.commit(rows, _files(number, residual, question))
            clock.save()
    store.finish({"examples": len(examples), "rows": len(store.rows), "passes": len(store.rows), **readable.summary})
    if out is not None:
        return load_states(out)
    together = {name: np.concatenate([part[name] for part, _ in kept]) for name in kept[0][0]}
    return States(store.rows, layers, store.manifest, None, together, np.concatenate([q for _, q in kept]))


def load_states(folder: Path) -> States:
    """Open a finished `states` folder. Raises `InputError` for another one, `ArtifactError` for a damaged one."""
    manifest, rows = load_rows(folder, stage=STAGE)
    with stored_errors(folder):
        for row in rows:
            from_row(tuple[str, float, float], [row["example_id"], row["mean_entropy"], row["largest_entropy"]])
        return States(rows, int(manifest.settings["layers"]), manifest, folder)


@dataclass(frozen=True)
class _Batch:
    rows: list[dict[str, Any]]
    residual: dict[str, Halves]
    question: Halves  # [rows, layers, neurons]


def _join(parts: Sequence[_Batch]) -> tuple[dict[str, Halves], Halves]:
    residual = {name: np.concatenate([part.residual[name] for part in parts]) for name in parts[0].residual}
    return residual, np.concatenate([part.question for part in parts])


def _put_aside(store: RowStore, parts: Sequence[_Batch]) -> None:
    """Keep finished batches of a shard that is being stopped."""
    from safetensors.numpy import save

    if parts:
        residual, question = _join(parts)
        store.put_aside([row for part in parts for row in part.rows], save({**residual, "question": question}))


def _read_pending(store: RowStore) -> list[_Batch]:
    """What an earlier call had finished of a shard when it was stopped; of what is damaged, nothing."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    rows, store.pending = store.pending, []
    try:
        tensors = load(store.pending_data) if rows else {}
        question = tensors.pop("question")
    except (LookupError, SafetensorError):
        return []
    return [_Batch(rows, tensors, question)] if {len(rows)} == {len(v) for v in (question, *tensors.values())} else []


class _Reader:
    """Runs batches of examples: the meter measures the neurons, and what the pass returns gives the rest."""

    def __init__(self, model: "LanguageModel", examples: list[Example], prompts: list[list[int]], signal: str) -> None:
        from hneurons.models.prompts import common_prefix
        from hneurons.neurons.capture import ContributionMeter

        self.model, self.examples, self.prompts = model, examples, prompts
        SIGNALS.get(signal)
        self.meter = ContributionMeter(model, common_prefix(prompts), regions=1, signal=signal)

    def read(self, numbers: list[int]) -> _Batch:
        import torch

        from hneurons.neurons.capture import Sequence as TokenSequence

        chosen = [(self.examples[i], self.prompts[i]) for i in numbers]
        batch = [TokenSequence([*p, *e.response.token_ids], ([len(p) - 1],)) for e, p in chosen]
        start = len(self.meter.prefix)
        spans = [(len(p) - start + e.token_span[0], len(p) - start + e.token_span[1])  # type: ignore[index]
                 for e, p in chosen]  # fmt: skip
        kept = sorted({place for begin, end in spans for place in range(begin - 1, end - 1)})
        question, output, columns = self.meter.measure_with_output(batch, kept)
        entropies = _entropies(output.logits[:, columns])
        rows = []
        for (example, _), (begin, end), row in zip(chosen, spans, entropies, strict=True):
            own = row[[kept.index(place) for place in range(begin - 1, end - 1)]]
            rows.append(
                {"id": f"{example.id}/question", "example_id": example.id, "region": "question", "tokens": end - begin,
                 "mean_entropy": round(float(own.mean()), 4), "largest_entropy": round(float(own.max()), 4)}
            )  # fmt: skip
        residual: dict[str, Halves] = {}
        for layer, states in enumerate(output.hidden_states):
            for name, values in zip(PLACES, _at_places(states, spans, chosen, start), strict=True):
                if not torch.isfinite(values).all():
                    raise CaptureError(f"the residual stream of layer {layer} is not finite: load the model in float32")
                residual[f"{name}/{layer}"] = values.clamp(-_LARGEST, _LARGEST).half().cpu().numpy()
        return _Batch(rows, residual, question[:, 0].half().cpu().numpy())


def _at_places(states: Any, spans: Any, chosen: Any, start: int) -> list[Any]:
    """The residual stream [rows, tokens, hidden] of a layer at each of `PLACES`, float32 [rows, hidden] each."""
    import torch

    means = [states[row, begin:end].float().mean(0) for row, (begin, end) in enumerate(spans)]
    ends = [states[row, end - 1].float() for row, (_, end) in enumerate(spans)]
    questions = [states[row, len(prompt) - 1 - start].float() for row, (_, prompt) in enumerate(chosen)]
    return [torch.stack(part) for part in (means, ends, questions)]


def _entropies(logits: Any) -> Any:
    """Entropy in nats of each distribution, float32 [rows, places] of logits [rows, places, vocabulary]."""
    import torch

    from hneurons.models.choosing import top_candidates

    return torch.stack([top_candidates(row, 1).entropy for row in logits]).cpu().numpy()


def _files(number: int, residual: dict[str, Halves], question: Halves) -> dict[str, bytes]:
    from safetensors.numpy import save

    layers = {f"layer.{i:03d}": np.ascontiguousarray(question[:, i]) for i in range(question.shape[1])}
    return {f"shard-{number:05d}.safetensors": save(layers), f"residual-{number:05d}.safetensors": save(residual)}
