"""The sampler against plain, unbatched, uncached decoding and against transformers' own generate and warpers."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from scipy.stats import chisquare
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from hneurons.core.errors import InputError
from hneurons.core.seeds import derive_seed
from hneurons.models import prefill as prefill_module
from hneurons.models.choosing import choose_tokens, top_candidates
from hneurons.models.kv_cache import BufferCache
from hneurons.models.language_model import LanguageModel
from hneurons.models.prefill import Prompts, prefill_shared
from hneurons.models.prompts import common_prefix
from hneurons.models.sampling import Branch, Generation, Sampling, generate
from support.tiny_models import DENSE, SHELLS, _config, tiny_model, tiny_tokenizer

STOPS = frozenset(range(1, 40))  # so many that answers end early and at different lengths
Drawn = dict[Branch, Generation]


def make_prompts(lengths: Iterable[int], *, prefix: int = 5, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    shared = rng.integers(40, 256, size=prefix).tolist()
    return [[*shared, *rng.integers(40, 256, size=length).tolist()] for length in lengths]


def draw(
    model: Any,
    prompts: list[list[int]],
    branches: list[Branch],
    sampling: Sampling,
    *,
    prefix: list[int] | None = None,
    max_rows: int = 128,
    stops: frozenset[int] = STOPS,
) -> Drawn:
    shared = common_prefix(prompts) if prefix is None else prefix
    prepared = Prompts(model, prompts, shared, prefill_shared(model, shared), sampling.top_k)
    drawn: Drawn = {}

    def on_done(branch: Branch, generation: Generation) -> list[Branch]:
        assert branch not in drawn
        drawn[branch] = generation
        return []

    generate(model, prepared, branches, sampling, stops, on_done=on_done, max_rows=max_rows)
    return drawn


def choose_one(logits: torch.Tensor, uniform: float, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    found = top_candidates(logits, sampling.top_k)
    return choose_tokens(found, torch.tensor([uniform]), sampling.temperature, sampling.top_p)


@torch.inference_mode()
def draw_alone(model: Any, prompt: list[int], branch: Branch, sampling: Sampling) -> Generation:
    """One answer by the whole sequence's forward pass at every token: no cache, no batch, no padding."""
    ids, logprobs, entropies, reason = list(prompt), [], [], "length"
    uniforms = np.random.default_rng(derive_seed(sampling.seed, *branch.seed_parts)).random(sampling.max_new_tokens)
    for uniform in uniforms:
        logits = model.model(torch.tensor([ids])).logits[:, -1]
        token, _ = choose_tokens(
            top_candidates(logits, sampling.top_k), torch.tensor([uniform]), sampling.temperature, sampling.top_p
        )
        logprobs.append(float(torch.log_softmax(logits.double(), -1)[0, token]))
        entropies.append(float(torch.distributions.Categorical(logits=logits[0].double()).entropy()))
        ids.append(int(token))
        if ids[-1] in STOPS:
            reason = "stop"
            break
    return Generation(tuple(ids[len(prompt) :]), tuple(logprobs), reason, tuple(entropies))  # type: ignore[arg-type]


def assert_same(drawn: Generation, expected: Generation) -> None:
    assert drawn.token_ids == expected.token_ids
    assert drawn.finish_reason == expected.finish_reason
    np.testing.assert_allclose(drawn.logprobs, expected.logprobs, atol=2e-3)
    np.testing.assert_allclose(drawn.entropies, expected.entropies, atol=2e-3)


def windowed_model(family: str, window: int) -> LanguageModel:
    torch.manual_seed(0)
    config = _config(family)
    config.sliding_window = window
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(4)
    found = LanguageModel(model, tiny_tokenizer(), name=family)
    assert found.attention_window == window
    return found


def greedy_by_transformers(model: Any, prompt: list[int], new: int) -> list[int]:
    ids = torch.tensor([prompt])
    out = model.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=new,
        eos_token_id=sorted(STOPS),
        pad_token_id=0,
    )
    return [int(i) for i in out[0, len(prompt) :]]


@pytest.mark.parametrize("family", [*DENSE, *SHELLS])
def test_greedy_answers_are_those_of_generate(family: str) -> None:
    model = tiny_model(family)
    prompts = make_prompts([3, 17, 9, 1])
    drawn = draw(model, prompts, [Branch(i, (str(i), 0)) for i in range(4)], Sampling(temperature=0, max_new_tokens=12))
    for branch, generation in drawn.items():
        expected = greedy_by_transformers(model, prompts[branch.prompt], 12)
        assert list(generation.token_ids) == expected
        assert generation.finish_reason == ("stop" if expected[-1] in STOPS else "length")
    assert len(drawn) == 4


@pytest.mark.parametrize("family", ["gemma3", "gemma2", "mistral"])
@pytest.mark.parametrize("share", [True, False])
def test_greedy_answers_are_those_of_generate_where_attention_has_a_narrow_window(family: str, share: bool) -> None:
    # Prompts are longer than the narrow window; a prefix is shared only where the window holds everything.
    model = windowed_model(family, 48 if share else 8)
    prompts = make_prompts([3, 14, 9])
    prefix = None if share else []
    branches = [Branch(i, (str(i), 0)) for i in range(3)]
    drawn = draw(model, prompts, branches, Sampling(temperature=0, max_new_tokens=10), prefix=prefix, max_rows=2)
    for branch, generation in drawn.items():
        assert list(generation.token_ids) == greedy_by_transformers(model, prompts[branch.prompt], 10)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "opt", "gpt_neox", "gemma3_multimodal"])
def test_samples_and_their_log_probabilities_are_those_of_plain_forward_passes(family: str) -> None:
    model = tiny_model(family)
    prompts = make_prompts([2, 11, 6])
    branches = [Branch(i, (f"q{i}", sample)) for i in range(3) for sample in range(3)]
    sampling = Sampling(max_new_tokens=8, seed=3)
    drawn = draw(model, prompts, branches, sampling)
    assert set(drawn) == set(branches)
    for branch, generation in drawn.items():
        assert_same(generation, draw_alone(model, prompts[branch.prompt], branch, sampling))
    assert {g.finish_reason for g in drawn.values()} == {"stop", "length"}
    assert len({g.token_ids for g in drawn.values()}) > 3


def reference_draw() -> tuple[Any, list[list[int]], list[Branch], Sampling, Drawn]:
    model = tiny_model("llama")
    prompts = make_prompts([4, 12, 1, 7, 7])
    branches = [Branch(i, (f"q{i}", sample)) for i in range(5) for sample in range(4)]
    sampling = Sampling(max_new_tokens=7)
    return model, prompts, branches, sampling, draw(model, prompts, branches, sampling)


@pytest.mark.parametrize("max_rows", [1, 3, 7])
def test_the_number_of_rows_that_run_together_changes_nothing(max_rows: int) -> None:
    model, prompts, branches, sampling, expected = reference_draw()
    for branch, generation in draw(model, prompts, branches, sampling, max_rows=max_rows).items():
        assert_same(generation, expected[branch])


def test_order_prefix_and_company_change_nothing() -> None:
    model, prompts, branches, sampling, expected = reference_draw()
    backwards = draw(model, prompts, branches[::-1], sampling)
    unshared = draw(model, prompts, branches, sampling, prefix=[])
    partly = draw(model, prompts, branches, sampling, prefix=common_prefix(prompts)[:2])
    some = draw(model, prompts, branches[3:9], sampling)
    alone = {branch: draw(model, [prompts[branch.prompt]], [Branch(0, branch.seed_parts)], sampling) for branch in some}
    for branch, generation in expected.items():
        assert_same(backwards[branch], generation)
        assert_same(unshared[branch], generation)
        assert_same(partly[branch], generation)
    for branch in some:
        assert_same(some[branch], expected[branch])
        assert_same(alone[branch][Branch(0, branch.seed_parts)], expected[branch])


def test_another_seed_and_another_sample_number_give_another_answer() -> None:
    model, prompts, branches, sampling, first = reference_draw()
    second = draw(model, prompts, branches, Sampling(max_new_tokens=7, seed=1))
    assert sum(first[b].token_ids != second[b].token_ids for b in branches) > len(branches) / 2
    assert len({first[b].token_ids for b in branches if b.prompt == 0}) > 1
    assert draw(model, prompts, branches, sampling) == first


@pytest.mark.slow
@pytest.mark.parametrize("share", [True, False])
def test_a_long_queue_in_few_rows_changes_nothing(share: bool) -> None:
    model = tiny_model("llama")
    prompts = make_prompts([4, 15, 1, 7])
    branches = [Branch(i % 4, (f"q{i % 4}", i)) for i in range(48)]
    sampling = Sampling(max_new_tokens=6, seed=5)
    drawn = draw(model, prompts, branches, sampling, prefix=None if share else [], max_rows=3)
    for branch, generation in drawn.items():
        assert_same(generation, draw_alone(model, prompts[branch.prompt], branch, sampling))
    assert len(drawn) == 48


@pytest.mark.parametrize("max_rows", [2, 64])
def test_what_is_added_when_an_answer_ends_is_drawn_too(max_rows: int) -> None:
    model = tiny_model("gpt_neox")
    prompts = make_prompts([4, 9, 2])
    sampling = Sampling(max_new_tokens=5)
    prefix = common_prefix(prompts)
    prepared = Prompts(model, prompts, prefix, prefill_shared(model, prefix), sampling.top_k)
    drawn: Drawn = {}

    def on_done(branch: Branch, generation: Generation) -> list[Branch]:
        drawn[branch] = generation
        question, sample = branch.seed_parts
        return [Branch(branch.prompt, (question, int(sample) + 1))] if int(sample) < 4 else []

    first = [Branch(i, (f"q{i}", 0)) for i in range(3)]
    generate(model, prepared, first, sampling, STOPS, on_done=on_done, max_rows=max_rows)
    assert set(drawn) == {Branch(i, (f"q{i}", sample)) for i in range(3) for sample in range(5)}
    for branch, generation in drawn.items():
        assert_same(generation, draw_alone(model, prompts[branch.prompt], branch, sampling))


def test_many_prompts_are_prefilled_in_groups_of_similar_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefill_module, "_PREFILL_ROWS", 3)
    model, prompts, branches, sampling, expected = reference_draw()
    for branch, generation in draw(model, prompts, branches, sampling).items():
        assert_same(generation, expected[branch])


def warped(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Probabilities as transformers makes them: temperature, then top-k, then top-p."""
    warpers = (
        TemperatureLogitsWarper(sampling.temperature),
        TopKLogitsWarper(sampling.top_k),
        TopPLogitsWarper(sampling.top_p),
    )
    for warper in warpers:
        logits = warper(None, logits)
    return torch.softmax(logits, -1)


SETTINGS = [
    Sampling(),
    Sampling(temperature=0.5, top_k=5, top_p=1.0),
    Sampling(temperature=2.0, top_k=300, top_p=0.5),
    Sampling(temperature=1.3, top_k=1, top_p=0.9),
    Sampling(temperature=1.0, top_k=40, top_p=0.01),
]


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SETTINGS)
@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_each_token_takes_the_share_of_uniform_numbers_that_transformers_gives_it(
    sampling: Sampling, spread: float
) -> None:
    logits = spread * torch.randn(1, 300, generator=torch.Generator().manual_seed(1))
    grid = 50_000
    uniforms = (torch.arange(grid, dtype=torch.float64) + 0.5) / grid
    found = top_candidates(logits, sampling.top_k)
    many = type(found)(*(part.expand(grid, *part.shape[1:]) for part in found))
    tokens, logprobs = choose_tokens(many, uniforms, sampling.temperature, sampling.top_p)
    shares = torch.bincount(tokens, minlength=300).double() / grid
    expected = warped(logits, sampling)[0].double()
    assert torch.equal(shares > 0, expected > 0)
    torch.testing.assert_close(shares, expected, atol=5e-5, rtol=0)
    torch.testing.assert_close(logprobs, torch.log_softmax(logits, -1)[0, tokens])


def test_drawn_first_tokens_follow_the_warped_distribution() -> None:
    model, sampling = tiny_model("llama"), Sampling(max_new_tokens=1, top_k=12, temperature=1.5)
    prompts = make_prompts([4])
    branches = [Branch(0, ("q", sample)) for sample in range(4000)]
    drawn = draw(model, prompts, branches, sampling, prefix=[])
    with torch.inference_mode():
        expected = warped(model.model(torch.tensor(prompts)).logits[:, -1], sampling)[0].double().numpy()
    counts = np.bincount([g.token_ids[0] for g in drawn.values()], minlength=300)
    assert not counts[expected == 0].any()
    kept = expected > 0
    assert kept.sum() > 3
    assert chisquare(counts[kept], 4000 * expected[kept] / expected[kept].sum()).pvalue > 0.01


def test_the_largest_uniform_number_still_draws_a_kept_token() -> None:
    logits = torch.randn(1, 300, generator=torch.Generator().manual_seed(0))
    for sampling in SETTINGS:
        token, _ = choose_tokens(
            top_candidates(logits, sampling.top_k),
            torch.tensor([np.nextafter(1.0, 0.0)]),
            sampling.temperature,
            sampling.top_p,
        )
        assert warped(logits, sampling)[0, token] > 0


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.1}, {"max_new_tokens": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="sampling needs"):
        Sampling(**wrong)


def test_prompts_that_run_together_are_alike_in_length_few_and_not_too_many_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prefill_module, "_PREFILL_ROWS", 3)
    monkeypatch.setattr(prefill_module, "_PREFILL_TOKENS", 24)
    model, prompts = tiny_model("llama"), make_prompts([4, 30, 6, 4, 5, 4, 11, 12, 13], prefix=0)
    ready = Prompts(model, prompts, [], prefill_shared(model, []), 5)
    assert ready.groups(range(len(prompts)), [0] * len(prompts)) == [[0, 3, 5], [4, 2], [6, 7], [8], [1]]
    alone = [Prompts(model, [prompt], [], prefill_shared(model, []), 5).first for prompt in prompts]
    for first, (expected,) in zip(ready.first, alone, strict=True):
        torch.testing.assert_close(first.logits, expected.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("share", [True, False])
def test_samples_of_a_prompt_run_as_one_row_as_long_as_they_say_the_same(
    monkeypatch: pytest.MonkeyPatch, share: bool
) -> None:
    model, prompts, rows = tiny_model("llama"), make_prompts([4, 9]), []
    forward = Prompts.forward

    def count(self: Prompts, cache: Any, ids: torch.Tensor, own: Any, *, last: Any) -> torch.Tensor:
        rows.append(len(ids))
        return forward(self, cache, ids, own, last=last)

    monkeypatch.setattr(Prompts, "forward", count)
    branches = [Branch(i, (f"q{i}", sample)) for i in range(2) for sample in range(20)]
    prefix = None if share else []
    drawn = draw(model, prompts, branches, Sampling(temperature=0, max_new_tokens=9), prefix=prefix, max_rows=12)
    answers = [{g.token_ids for b, g in drawn.items() if b.prompt == prompt} for prompt in range(2)]
    assert [len(found) for found in answers] == [1, 1]
    # After the prompts: every token of the two answers but the last, once. The second twelve draws run nothing.
    assert sum(rows) - 2 == sum(len(ids) - 1 for found in answers for ids in found)
    rows.clear()
    sampling = Sampling(temperature=0.7, max_new_tokens=9)
    drawn = draw(model, prompts, branches, sampling, prefix=prefix)
    begun = {(b.prompt, g.token_ids[:length]) for b, g in drawn.items() for length in range(1, len(g.token_ids))}
    assert sum(rows) - 2 == len(begun) < sum(len(g.token_ids) for g in drawn.values())


def test_a_model_that_attends_as_it_likes_is_left_to_itself_and_draws_the_same() -> None:
    model, prompts, branches, sampling, expected = reference_draw()
    prefix = common_prefix(prompts)
    assert Prompts(model, prompts, prefix, prefill_shared(model, prefix), 5).attention is not None
    model.model.set_attn_implementation("eager")
    assert Prompts(model, prompts, prefix, prefill_shared(model, prefix), 5).attention is None
    for branch, generation in draw(model, prompts, branches, sampling).items():
        assert_same(generation, expected[branch])


def test_the_model_s_own_attention_is_back_after_every_pass_even_one_that_fails() -> None:
    model, prompts = tiny_model("llama"), make_prompts([4])
    before = model.model(torch.tensor(prompts)).logits
    draw(model, prompts, [Branch(0, ("q", 0))], Sampling(max_new_tokens=3))
    assert torch.equal(model.model(torch.tensor(prompts)).logits, before)
    prefix = prompts[0][:5]
    ready = Prompts(model, prompts, prefix, prefill_shared(model, prefix), 5)
    with pytest.raises(RuntimeError), ready.attention.active(torch.tensor([0])):  # type: ignore[union-attr]
        model.model(torch.zeros(1, 1))
    assert model.text_config._attn_implementation == "sdpa"
    assert torch.equal(model.model(torch.tensor(prompts)).logits, before)


def test_rows_grow_with_what_is_run_and_not_to_what_might_be(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompts, grown = tiny_model("llama"), make_prompts([4, 30, 6]), []
    original = BufferCache.add_positions

    def add(cache: BufferCache, positions: int) -> None:
        grown.append(cache)
        original(cache, positions)

    monkeypatch.setattr(BufferCache, "add_positions", add)
    branches = [Branch(i % 3, (i,)) for i in range(12)]
    drawn = draw(model, prompts, branches, Sampling(max_new_tokens=1000, seed=3))
    longest = max(len(prompts[branch.prompt]) + len(found.token_ids) for branch, found in drawn.items())
    assert len({id(cache) for cache in grown}) == 1
    assert longest - 5 <= grown[0].capacity + 1 <= longest + 34
    for branch, found in drawn.items():
        assert_same(found, draw_alone(model, prompts[branch.prompt], branch, Sampling(max_new_tokens=1000, seed=3)))


def test_prompts_of_very_different_lengths_do_not_run_together() -> None:
    model, prompts = tiny_model("llama"), make_prompts([100, 4, 100, 5, 104, 6], prefix=0)
    ready = Prompts(model, prompts, [], prefill_shared(model, []), 5)
    assert ready.groups(range(6), [0] * 6) == [[1, 3, 5], [0, 2, 4]]


def test_a_long_prompt_makes_no_room_for_the_short_ones_beside_it() -> None:
    model, prompts = tiny_model("llama"), make_prompts([200, *[5] * 40], prefix=0)
    ready = Prompts(model, prompts, [], prefill_shared(model, []), 5)
    caches = {id(cache): cache for cache, _ in ready.caches}.values()
    assert sum(cache.rows * cache.capacity for cache in caches) <= 1.2 * sum(map(len, prompts))
