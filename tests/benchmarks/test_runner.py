"""The runner: every cell is what a separate run gives, alpha = 1 once, nothing lost when killed; the command."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hneurons.audits import load_run
from hneurons.benchmarks import asking, load_items, runner
from hneurons.benchmarks.benchmark import Benchmark, Item
from hneurons.benchmarks.perplexity import Perplexity
from hneurons.benchmarks.results import summarize_run
from hneurons.benchmarks.runner import run_benchmark
from hneurons.core.errors import ArtifactError, EndpointError, InputError, NotEnoughDataError, PromptTooLongError
from hneurons.core.verification import verify_folder
from hneurons.interventions.gate import RiskAbove
from hneurons.interventions.intervention import Untouched
from hneurons.interventions.steering import Steer
from hneurons.models.drawing import Talks
from hneurons.models.endpoint import Endpoint
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.records.record import Condition
from support.chat_server import ChatServer, Reply
from support.planted import read_tree
from support.tiny_models import tiny_model
from support.toy_benchmark import TOKENS, ScaledTalk, Talk, Toy, make_detector, make_items, make_sets, reply_alone, run


@pytest.mark.slow
def test_every_cell_is_what_a_separate_run_of_it_gives() -> None:
    model = tiny_model(chat=True)
    sets = make_sets(model)
    records = run(model, max_rows=4).records
    assert len(records) == 5 * 2 * 3
    for record in records:
        item = next(item for item in make_items(5) if item.id == record.id)
        text = reply_alone(model, item.turns, sets[record.condition], record.alpha)
        assert record.response == text
        assert record.outcome == float(len(text) % 2 == 0)
        assert (record.chars, record.judge) == (len(text), "counted")
    assert len({r.response for r in records if r.id == "i1"}) > 2


def test_alpha_1_is_run_once_and_stands_under_every_set() -> None:
    model = tiny_model(chat=True)
    steered: list[int] = []
    found = run(model, alphas=(2.0,))
    plain = {
        c: [(r.id, r.response) for r in found.records if r.alpha == 1 and r.condition == c] for c in make_sets(model)
    }
    assert plain["h_neurons"] == plain["random_layer_matched_0"]
    assert len(plain["h_neurons"]) == 5
    original = Steer.__init__

    def count(steer: Steer, model: Any, conditions: Any) -> None:
        steered.append(len(conditions))
        original(steer, model, conditions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Steer, "__init__", count)
        run(model, alphas=(0.0, 1.0, 2.0))
    assert steered == [1 + 2 * 2]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma3"])
@pytest.mark.parametrize("scope", ["all", "response", 2])
@pytest.mark.parametrize("benchmark", [Talk(), ScaledTalk()], ids=["plain_first", "scaled_first"])
def test_every_reply_of_a_conversation_is_what_a_separate_run_of_it_gives(
    family: str, scope: Any, benchmark: Talk
) -> None:
    model = tiny_model(family, chat=True)
    sets = make_sets(model)
    records = run(model, benchmark, items=3, scope=scope, max_rows=7).records
    assert len(records) == 3 * 2 * 3

    @cache
    def alone(turns: tuple[str, ...], condition: str, alpha: float) -> str:
        return reply_alone(model, turns, sets[condition], alpha, scope=scope)

    for record in records:
        item = next(item for item in make_items(3) if item.id == record.id)
        first = alone(item.turns, record.condition, 1.0 if benchmark.first_turn_unscaled else record.alpha)
        second = alone((*item.turns, first, "Are you sure?"), record.condition, record.alpha)
        turns = (*item.turns, first, "Are you sure?", second, "So what is it?")
        assert json.loads(record.judge or "") == [first, second, alone(turns, record.condition, record.alpha)]
    assert len({record.judge for record in records}) > 3


def prompt_tokens(model: Any, benchmark: Benchmark, **options: Any) -> int:
    """Run a benchmark; how many tokens were run in passes of several tokens a row, padding included."""
    seen = []

    def count(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        shape = next(v for v in (*args, kwargs.get("input_ids"), kwargs.get("inputs_embeds")) if v is not None).shape
        seen.append(shape[0] * shape[1] if shape[1] > 1 else 0)

    handle = model.decoder.register_forward_pre_hook(count, with_kwargs=True)
    try:
        run(model, benchmark, **options)
    finally:
        handle.remove()
    return sum(seen)


def test_a_prompt_that_no_condition_changes_is_run_once_for_all_of_them() -> None:
    model = tiny_model(chat=True)
    when = RiskAbove(make_detector(model), 0.4)
    for where in ({"scope": "response"}, {"scope": 3}, {"when": when}):
        one, many = (prompt_tokens(model, Toy(), alphas=alphas, **where) for alphas in ((1.0,), (0.0, 1.0, 4.0, 6.0)))
        assert 0 < one == many
    assert prompt_tokens(model, Toy(), alphas=(0.0, 1.0, 4.0, 6.0)) > 4 * one


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["all", "response"])
def test_earlier_turns_are_not_run_again_and_without_room_for_them_the_replies_are_the_same(
    scope: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(chat=True)
    kept = run(model, Talk(), scope=scope), prompt_tokens(model, Talk(), scope=scope)
    original = Talks.__init__
    monkeypatch.setattr(Talks, "__init__", lambda talks, positions: original(talks, 0))
    again = run(model, Talk(), scope=scope), prompt_tokens(model, Talk(), scope=scope)
    assert kept[0] == again[0]
    assert kept[1] < (0.75 if scope == "all" else 0.85) * again[1]


class Secret(Toy):
    """Replies are not kept."""

    stores_text = False


def test_replies_that_may_be_harmful_leave_only_digest_and_length(tmp_path: Path) -> None:
    model = tiny_model(chat=True)
    shown, hidden = run(model).records, run(model, Secret(), out=tmp_path).records
    assert [r.digest for r in hidden] == [r.digest for r in shown]
    assert [(r.response, r.chars) for r in hidden] == [(None, len(r.response or "")) for r in shown]
    written = (tmp_path / "rows.jsonl").read_text()
    assert all(json.dumps(r.response, ensure_ascii=False) not in written for r in shown if len(r.response or "") > 2)


def test_perplexity_is_that_of_the_model_with_edited_weights(tmp_path: Path) -> None:
    model, edited = tiny_model(), tiny_model()
    text = "Who wrote Hamlet? It was William Shakespeare."
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": text}) + "\n")
    benchmark, items = load_items(f"perplexity:{tmp_path / 'texts.jsonl'}")
    sets = make_sets(model)
    found = run_benchmark(model, "perplexity", benchmark, items, sets, alphas=(0.0, 4.0))
    for layer, neuron in zip(sets["h_neurons"].layers, sets["h_neurons"].neurons, strict=True):
        edited.ffns[layer].columns[:, neuron] *= 4.0
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    for guest, alpha in ((tiny_model(), 1.0), (edited, 4.0)):
        with torch.inference_mode():
            loss = float(guest.model(ids, labels=ids).loss)
        at = next(a for a in summarize_run(found).selected.alphas if a.alpha == alpha)
        assert at.perplexity == pytest.approx(np.exp(loss), rel=1e-4)
    assert len({a.perplexity for a in summarize_run(found).selected.alphas}) == 3


def kill_after(patch: pytest.MonkeyPatch, chunks: int) -> None:
    done = []
    original = asking.Job.run

    def run_some(job: Any, items: Any, *rest: Any) -> Any:
        if len(done) == chunks:
            raise KeyboardInterrupt
        done.append(1)
        return original(job, items, *rest)

    patch.setattr(asking.Job, "run", run_some)


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(chat=True)
    monkeypatch.setattr(runner, "_CELLS", 10)  # two items a chunk
    whole = run(model, out=tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        kill_after(patch, 1)
        run(model, out=tmp_path / "killed")
    rows = tmp_path / "killed" / "rows.jsonl"
    assert len(rows.read_text().splitlines()) == 2 * 6
    rows.write_bytes(rows.read_bytes() + b'{"id": "half a ro')
    resumed = run(model, out=tmp_path / "killed")
    assert resumed == whole
    for name in ("rows.jsonl", "manifest.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("benchmark", [Toy(), Talk(), ScaledTalk(), Perplexity()])
def test_ctrl_c_keeps_every_finished_reply_of_the_open_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, benchmark: Benchmark
) -> None:
    model, made = tiny_model(chat=True), list[Any]()
    score, scaled = asking.Job._score, Steer.scaled_tokens

    def count(original: Callable[..., Any], stop_at: int) -> Callable[..., Any]:
        def counted(owner: Any, what: Any) -> Any:
            made.append(what)
            if len(made) == stop_at:
                raise KeyboardInterrupt
            return original(owner, what)

        return counted

    def watch(stop_at: int) -> None:
        made.clear()
        monkeypatch.setattr(asking.Job, "_score", count(score, stop_at))
        monkeypatch.setattr(Steer, "scaled_tokens", count(scaled, stop_at))

    watch(0)
    whole = run(model, benchmark, out=tmp_path / "whole")
    needed, cut = len(made), tmp_path / "cut"
    for stop_at in (needed // 2, 2):  # the second time before much is added
        watch(stop_at)
        with pytest.raises(KeyboardInterrupt):
            run(model, benchmark, out=cut)
    assert {check.state for check in verify_folder(cut)} == {"unfinished", "whole"}
    watch(0)
    assert run(model, benchmark, out=cut) == whole
    assert len(made) == needed - (needed // 2 - 1) - 1
    assert read_tree(cut) == read_tree(tmp_path / "whole")


def test_finished_replies_that_were_damaged_are_made_again(tmp_path: Path) -> None:
    model = tiny_model(chat=True)
    job = asking.Job(model, "toy", Toy(), [asking.Cell(None, 1.0)], [Untouched()], TOKENS, 0, 8)
    for rows in ([{"records": 3}], [{"item": "i0"}], [3]):
        job.recall(rows)  # type: ignore[arg-type]
        assert not job.finished()


@pytest.mark.parametrize("benchmark", [Toy(), Talk(), ScaledTalk()])
def test_progress_moves_reply_by_reply_inside_a_chunk(monkeypatch: pytest.MonkeyPatch, benchmark: Benchmark) -> None:
    moved: list[float] = []

    @contextmanager
    def watch(description: str, total: int, *, done: int = 0) -> Iterator[Any]:
        yield lambda n=1, note="": moved.append(n)

    monkeypatch.setattr(runner, "progress", watch)
    run(tiny_model(chat=True), benchmark)
    assert sum(moved) == pytest.approx(len(make_items(5))) and max(moved) <= 2.5
    assert len(moved) >= 5


def test_a_finished_run_is_read_not_repeated_and_the_audits_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(chat=True)
    first = run(model, out=tmp_path)
    kill_after(monkeypatch, 0)
    assert run(model, out=tmp_path) == first
    loaded = load_run(tmp_path)
    assert list(loaded.records) == first.records
    assert loaded.settings == first.settings
    assert loaded.settings.conditions["random_layer_matched_0"] == Condition("random_layer_matched")


def test_other_settings_in_the_same_folder_are_refused_by_name(tmp_path: Path) -> None:
    model = tiny_model(chat=True)
    run(model, out=tmp_path)
    with pytest.raises(Exception, match="alphas"):
        run(model, out=tmp_path, alphas=(0.0, 1.0))
    with pytest.raises(Exception, match="scope"):
        run(model, out=tmp_path, scope="response")


@pytest.mark.slow
def test_a_judge_that_dies_half_way_and_comes_back_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_CELLS", 10)
    model = tiny_model(chat=True)
    lost = [False]

    def answer(number: int, body: dict[str, Any]) -> Reply:
        if lost[0]:
            return Reply(status=400, raw="gone")
        text = str(body["messages"][0]["content"]).split("even? ", 1)[1].split("\nFirst give", 1)[0]
        return Reply(f"I counted.\nVERDICT: {'EVEN' if len(text) % 2 == 0 else 'ODD'}")

    with ChatServer(answer) as server:
        endpoint = Endpoint(server.url, "judge", retries=0, cache=tmp_path / "cache.sqlite")
        whole = run(model, endpoint=endpoint, out=tmp_path / "whole")
        assert whole.judge == "llm: judge"
        original = asking.Job.run

        def die_later(job: Any, items: Any, *rest: Any) -> Any:
            lost[0] = items[0].id != "i0"
            return original(job, items, *rest)

        fresh = Endpoint(server.url, "judge", retries=0)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(EndpointError):
            patch.setattr(asking.Job, "run", die_later)
            run(model, endpoint=fresh, out=tmp_path / "interrupted")
        lost[0] = False
        assert run(model, endpoint=fresh, out=tmp_path / "interrupted") == whole
    assert (tmp_path / "interrupted/rows.jsonl").read_bytes() == (tmp_path / "whole/rows.jsonl").read_bytes()
    plain = run(model).records
    assert [r.outcome for r in whole.records] == [r.outcome if r.response else None for r in plain]


def test_a_judge_whose_verdict_cannot_be_read_leaves_replies_unscored() -> None:
    with ChatServer(lambda number, body: Reply("It may be EVEN or ODD.")) as server:
        found = run(tiny_model(chat=True), endpoint=Endpoint(server.url, "judge", retries=0), alphas=(1.0,))
    replied = [r for r in found.records if r.response]
    assert replied
    assert all(r.outcome is None and r.error == "unreadable verdict" for r in replied)


def test_what_cannot_be_run_is_said_in_one_sentence() -> None:
    model, other = tiny_model(chat=True), tiny_model(chat=True, seed=1)
    with pytest.raises(InputError, match="belong to tiny-llama"):
        run_benchmark(model, "toy", Toy(), make_items(2), make_sets(other))
    with pytest.raises(InputError, match="finite numbers"):
        run(model, alphas=(float("nan"),))
    with pytest.raises(InputError, match="finite numbers"):
        run(model, alphas=())
    with pytest.raises(NotEnoughDataError, match="no items"):
        run_benchmark(model, "toy", Toy(), [], make_sets(model))
    empty = NeuronSet.from_columns(model.identity, np.zeros(0, np.int64), np.zeros(0), data={})
    with pytest.raises(InputError, match="'h_neurons': the neuron set is empty"):
        run_benchmark(model, "toy", Toy(), make_items(2), {"h_neurons": empty})
    long = [Item("long", ("word " * 5000,))]
    with pytest.raises(PromptTooLongError, match="item long"):
        run_benchmark(model, "toy", Toy(), long, make_sets(model))


def test_scaling_by_running_risk_keeps_how_many_tokens_of_each_reply_were_scaled(tmp_path: Path) -> None:
    model = tiny_model(chat=True)
    when = RiskAbove(make_detector(model), 0.4)
    found = run(model, when=when, out=tmp_path, max_rows=4)
    counts = {r.scaled_tokens for r in found.records if r.alpha != 1}
    assert len(counts) > 2
    assert all(0 <= (r.scaled_tokens or 0) <= (r.n_tokens or 0) for r in found.records)
    assert list(load_run(tmp_path).records) == found.records
    never, always = (run(model, when=RiskAbove(make_detector(model), t)).records for t in (1.0, 0.0))
    plain = {r.id: r.response for r in run(model).records if r.alpha == 1}
    assert all(r.response == plain[r.id] and r.scaled_tokens == 0 for r in never)
    # The last token drawn is not run, and the first is never scaled.
    assert all(r.scaled_tokens == max((r.n_tokens or 0) - 2, 0) for r in always)
    with pytest.raises(ArtifactError, match=r"when was .*risk above 0.4 .*now .*risk above 0.5"):
        run(model, when=RiskAbove(make_detector(model), 0.5), out=tmp_path)


def test_texts_cannot_be_scored_under_running_risk(tmp_path: Path) -> None:
    model = tiny_model(chat=True)
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "Who wrote Hamlet?"}) + "\n")
    benchmark, items = load_items(f"perplexity:{tmp_path / 'texts.jsonl'}")
    when = RiskAbove(make_detector(model), 0.4)
    with pytest.raises(InputError, match="token by token"):
        run_benchmark(model, "perplexity", benchmark, items, make_sets(model), when=when)
