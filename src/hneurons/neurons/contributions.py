"""Stage `contributions`: located examples -> one row of every neuron's mean signal per example and region."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hneurons.core.artifacts import Manifest, RowStore, load_rows
from hneurons.core.errors import MAKE_AGAIN, ArtifactError, CaptureError, InputError, NotEnoughDataError
from hneurons.core.files import file_hash, stored_errors
from hneurons.core.progress import progress
from hneurons.core.rows import from_row
from hneurons.core.seeds import fingerprint
from hneurons.core.showing import one_line
from hneurons.core.timing import Clock
from hneurons.core.types import Example, ModelIdentity, identify
from hneurons.core.wording import count
from hneurons.neurons.readable import Readable, keep_readable
from hneurons.neurons.signals import CETT, SIGNALS
from hneurons.sparse.matrix import ArrayMatrix, ColumnMatrix, ShardMatrix

if TYPE_CHECKING:
    from hneurons.models.language_model import LanguageModel
    from hneurons.models.prompts import PromptStyle

STAGE = "contributions"
SHARD_EXAMPLES = 128  # 256 rows a shard
REGIONS = ("answer", "other")
OtherRegion = Literal["response", "sequence"]


@dataclass(frozen=True, slots=True)
class Contributions:
    """Rows x (layers * neurons) of a signal (CETT by default) as float16, on disk (`folder`) or in memory (`values`).

    rows: one dict a row, with `id`, `question_id`, `group`, `region` ("answer" or "other"), `hallucinated`, `tokens`.
    Column of (layer, neuron) = layer * neurons + neuron.
    """

    rows: list[dict[str, Any]]
    shape: tuple[int, int]
    manifest: Manifest
    folder: Path | None = None
    values: NDArray[np.float16] | None = None

    def __repr__(self) -> str:
        size = f"{count(len(self.rows), 'row')} of {self.shape[0]} layers x {self.shape[1]:,} neurons"
        return one_line(self, size, f"signal {self.signal}", str(self.folder or "in memory"))

    @property
    def content(self) -> str:
        """16 hex digits of what was measured: the model, style, regions and examples, not the rows alone."""
        return fingerprint([self.manifest.fingerprint, self.rows])

    @property
    def signal(self) -> str:
        """The name of what was measured."""
        return str(self.manifest.settings.get("signal", CETT))

    @property
    def summary(self) -> dict[str, Any]:
        return self.manifest.summary

    def matrix(self, rows: Sequence[int] | None = None) -> ColumnMatrix:
        """The features of the rows with these numbers (all by default)."""
        chosen = list(range(len(self.rows))) if rows is None else list(rows)
        if self.folder is not None:
            return ShardMatrix(self.folder, chosen)
        assert self.values is not None
        return ArrayMatrix(self.values[chosen], tuple(self.rows[i]["id"] for i in chosen))


def measure_contributions(
    model: "LanguageModel",
    examples: Sequence[Example],
    *,
    style: "PromptStyle",
    other: OtherRegion = "response",
    signal: str = CETT,
    batch_size: int = 16,
    out: Path | None = None,
) -> Contributions:
    """Mean signal of every neuron over each example's answer tokens and over its other tokens (arXiv 2512.01797, 2.2).

    `signal` names what is measured; see `SIGNALS`. `other="response"` counts the response's remaining tokens (Eq. 3),
    `"sequence"` prompt and template tokens too (the authors' code). Examples without a token span, and regions without
    tokens, give no row and are counted, as are answers that the model cannot read. `style` must be the one the
    responses were sampled with. Resumable with `out`; Ctrl-C keeps every finished batch.

    Raises `InputError` for an unknown `other` or `signal`, `NotEnoughDataError` when no example has a span or none can
    be read, `CaptureError` when a hook does not fire exactly once, `StorageError`.
    """
    check_other(other)
    width = SIGNALS.get(signal).width(model)
    located = [e for e in examples if e.token_span is not None]
    if not located:
        raise NotEnoughDataError(
            f"none of {len(examples)} examples has an answer span: run 'locate' first, or another --finder"
        )
    readable = keep_readable(model, located, style)
    plan = _Plan(model, readable, other, signal)
    settings: dict[str, Any] = {
        "model": model.identity.to_row(),
        "style": style.to_row(),
        "other": other,
        "batch_size": batch_size,
        "shape": (model.shape[0], width),
        "regions": REGIONS,
        # Folders from before there was a choice have CETT and do not say so.
        **({} if signal == CETT else {"signal": signal}),
        **model.dtype_setting,
    }
    inputs, earlier = {"examples": identify(examples)}, {"examples": fingerprint([e.to_row() for e in examples])}
    shards = [plan.order[i : i + SHARD_EXAMPLES] for i in range(0, len(plan.order), SHARD_EXAMPLES)]
    store = RowStore(out, stage=STAGE, settings=settings, inputs=inputs, expected=len(shards), earlier_inputs=earlier)
    if store.complete and out is not None:
        return load_contributions(out)
    kept: list[NDArray[np.float16]] = []
    done = sum(map(len, shards[: store.done]))
    meter = plan.meter()
    clock = Clock(out, done=store.done)
    with progress("contributions", len(plan.order), done=done) as advance:
        for number in range(store.done, len(shards)):
            rows, values = _measure_shard(meter, plan, shards[number], batch_size, advance, store, clock)
            if out is None:
                kept.append(values.reshape(len(values), -1))
                store.commit(rows)
            else:
                store.commit(rows, {f"shard-{number:05d}.safetensors": _pack_shard(values)})
            clock.save()
    counted = Counter((r["region"], "wrong" if r["hallucinated"] else "right") for r in store.rows)
    summary: dict[str, Any] = {
        "examples": len(examples),
        "no_span": len(examples) - len(located),
        "rows": len(store.rows),
        "empty_regions": len(REGIONS) * len(plan.order) - len(store.rows),
        "rows_by_region": {f"{region} of {name}": n for (region, name), n in sorted(counted.items())},
        "shared_prefix_tokens": len(plan.prefix),
        **readable.summary,
    }
    store.finish(summary)
    in_memory = np.concatenate(kept) if out is None else None
    return Contributions(store.rows, (model.shape[0], width), store.manifest, out, in_memory)


def load_contributions(folder: Path) -> Contributions:
    """Open a finished `contributions` folder; the features stay on disk.

    Raises `InputError` for another folder, `ArtifactError` when rows or shards are missing or were changed.
    """
    manifest, rows = load_rows(folder, stage=STAGE)
    with stored_errors(folder):
        layers, neurons = from_row(tuple[int, int], manifest.settings["shape"])
        ModelIdentity.from_row(manifest.settings["model"])
        check_other(manifest.settings["other"])
        for row in rows:
            from_row(tuple[str, str, str], [row["id"], row["example_id"], row["region"]])
    for name, content in manifest.summary.get("shards", {}).items():  # of an earlier version, not in `files`
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder} lacks {name}: {MAKE_AGAIN}")
        if file_hash(folder / name) != content:
            raise ArtifactError(f"{folder / name} was changed after it was written: {MAKE_AGAIN}")
    return Contributions(rows, (layers, neurons), manifest, folder)


def check_other(other: str) -> None:
    """Raise `InputError` for a name that is no `OtherRegion`."""
    if other not in get_args(OtherRegion):
        raise InputError(f"unknown other region '{other}': known are {', '.join(get_args(OtherRegion))}")


class _Plan:
    """Token ids, regions and order of the examples, and the prefix they share."""

    def __init__(self, model: "LanguageModel", readable: Readable, other: OtherRegion, signal: str) -> None:
        from hneurons.models.prompts import common_prefix
        from hneurons.neurons.capture import Sequence as TokenSequence

        self.model, self.examples, self.signal = model, readable.examples, signal
        examples, prompts = readable.examples, readable.prompts
        # Response tokens never belong to the prefix: at least one prompt token of each row is run again.
        self.prefix = common_prefix(prompts)
        self.sequences: list[TokenSequence] = []
        for example, prompt in zip(examples, prompts, strict=True):
            assert example.token_span is not None
            begin, end = (len(prompt) + place for place in example.token_span)
            total = len(prompt) + len(example.response.token_ids)
            first = 0 if other == "sequence" else len(prompt)
            rest = [*range(first, begin), *range(end, total)]
            self.sequences.append(TokenSequence([*prompt, *example.response.token_ids], ([*range(begin, end)], rest)))
        self.order = sorted(range(len(examples)), key=lambda i: (len(self.sequences[i].ids), examples[i].id))

    def meter(self) -> Any:
        from hneurons.neurons.capture import ContributionMeter

        return ContributionMeter(self.model, self.prefix, signal=self.signal)


def _measure_shard(
    meter: Any, plan: _Plan, order: list[int], batch_size: int, advance: Any, store: RowStore, clock: Clock
) -> tuple[list[dict[str, Any]], NDArray[np.float16]]:
    """The rows and values of a shard. Where it is stopped, the store keeps those of all finished batches."""
    from safetensors.numpy import save

    done, rows, parts = _read_pending(store, len(order))
    advance(done)
    try:
        for start in range(done, len(order), batch_size):
            batch = order[start : start + batch_size]
            with clock.time(STAGE, len(batch), passes=len(batch)):
                found, values = _measure_batch(meter, plan, batch)
            rows, parts, done = rows + found, parts + values, start + len(batch)
            advance(len(batch))
    except BaseException:
        if rows:
            store.put_aside([{"examples": done, "rows": rows}], save({"values": np.stack(parts)}))
        raise
    return rows, np.stack(parts)


def _read_pending(store: RowStore, most: int) -> tuple[int, list[dict[str, Any]], list[NDArray[np.float16]]]:
    """Examples done of a shard that was stopped, their rows and the values of each; of what is damaged, none."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not store.pending:
        return 0, [], []
    (kept, *_), store.pending = store.pending, []
    try:
        values = load(store.pending_data)["values"]
        done, rows = from_row(int, kept["examples"]), from_row(list[dict[str, Any]], kept["rows"])
    except (ValueError, LookupError, TypeError, SafetensorError):
        return 0, [], []
    return (done, rows, list(values)) if len(rows) == len(values) and 0 < done <= most else (0, [], [])


def _measure_batch(meter: Any, plan: _Plan, batch: list[int]) -> tuple[list[dict[str, Any]], list[NDArray[np.float16]]]:
    rows: list[dict[str, Any]] = []
    parts: list[NDArray[np.float16]] = []
    measured = meter.measure([plan.sequences[i] for i in batch]).half().cpu().numpy()
    for i, values in zip(batch, measured, strict=True):
        example = plan.examples[i]
        for region, name in enumerate(REGIONS):
            tokens = len(plan.sequences[i].regions[region])
            if not tokens:
                continue
            if not np.isfinite(values[region]).all():
                raise CaptureError(
                    f"the contributions of example {example.id} are not finite: load the model in float32"
                )
            rows.append(
                {
                    "id": f"{example.id}/{name}",
                    "example_id": example.id,
                    "question_id": example.question.id,
                    "group": example.question.group,
                    "region": name,
                    "hallucinated": example.hallucinated,
                    "tokens": tokens,
                }
            )
            parts.append(values[region])
    return rows, parts


def _pack_shard(values: NDArray[np.float16]) -> bytes:
    """values: [rows, layers, neurons]; one tensor a layer, so that columns can be read slab by slab."""
    from safetensors.numpy import save

    tensors = {f"layer.{i:03d}": np.ascontiguousarray(values[:, i]) for i in range(values.shape[1])}
    packed: bytes = save(tensors)
    return packed
