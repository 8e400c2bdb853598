"""NLI models: labels by their names, pairs as one would run them alone, and refusals in one sentence."""

from pathlib import Path

import pytest
import torch

from hneurons.core.errors import InputError, PromptTooLongError
from hneurons.models.nli import NLIModel, read_labels
from support.tiny_nli import save_tiny_nli

SAID = [("Shakespeare", "Paris"), ("the fox", "dog"), ("1600", "1600 or so"), ("a", "b")]
PAIRS = [(f"Who wrote Hamlet? {a}", f"Who wrote Hamlet? {'very ' * n}{b}") for n, (a, b) in enumerate(SAID)]


def test_pairs_in_a_batch_are_classified_as_alone_and_by_the_labels_of_the_config(tmp_path: Path) -> None:
    found = []
    for labels in (("CONTRADICTION", "Entailment", "neutral"), ("neutral", "contradiction", "ENTAILMENT")):
        model = NLIModel(str(save_tiny_nli(tmp_path / labels[0], labels)))
        assert model.relations == tuple(label.lower() for label in labels) and model.name == labels[0]
        together = model.classify(PAIRS)
        assert together == [model.classify([pair])[0] for pair in PAIRS]
        for pair, relation in zip(PAIRS, together, strict=True):
            with torch.inference_mode():
                logits = model.model(**model.tokenizer(*pair, return_tensors="pt")).logits[0]
            assert relation == labels[int(logits.argmax())].lower()
        found.append(model.settings())
    assert found[0] != found[1] and found[0]["weights"] == found[1]["weights"]


@pytest.mark.parametrize(
    "labels",
    [("LABEL_0", "LABEL_1", "LABEL_2"), ("entailment", "not_entailment"), ("entailment", "entails", "contradict")],
)
def test_labels_without_one_entailment_and_one_contradiction_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=f"'nli' has the labels {', '.join(labels)}: meanings need a model with one"):
        read_labels(dict(enumerate(labels)), "nli")


def test_what_is_no_nli_model_and_texts_beyond_its_window_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not load the model"):
        NLIModel(str(tmp_path))
    model = NLIModel(str(save_tiny_nli(tmp_path / "nli")))
    with pytest.raises(PromptTooLongError, match="but nli reads 128"):
        model.length("x " * 100, "y " * 100)
