"""Releases: written from results, read back whole or refused, through the real hub client against a small hub."""

import json
import os
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hneurons.cli import main
from hneurons.core.errors import ArtifactError, EndpointError, InputError, SchemaError, StorageError
from hneurons.core.stats import Estimate
from hneurons.core.types import ModelIdentity
from hneurons.detection.detector import Detector
from hneurons.detection.evaluation import DETECTOR, DatasetResult, Difference, Score
from hneurons.detection.like_for_like import ALL_RANDOM, ALL_REFITTED, RANDOM, REFITTED, RandomNeurons
from hneurons.neurons.opening import open_neurons
from hneurons.releases.classifier_import import read_classifier
from hneurons.releases.domains import judge_domain
from hneurons.releases.release import load_release, push_release, save_release
from support.damage import survivors
from support.hub_server import run_hub
from support.tiny_models import tiny_model

NAN = float("nan")


def make_detector(identity: ModelIdentity | None = None) -> Detector:
    identity = identity or ModelIdentity("owner/model", "llama", 3, 48, 32, "c0", "t0", "w0")
    return Detector(
        identity,
        columns=np.array([3, 40, 100]),
        coef=np.array([2.0, -1.0, 0.5]),
        scale=np.ones(3),
        selection_probability=np.array([0.9, 0.4, NAN]),
        intercept=-0.25,
        threshold=0.1,
        settings={},
        data={"contributions": "abc", "rows": 200},
    )


def make_result(name: str, auroc: tuple[float, float, float], gap: tuple[float, float, float] | None) -> DatasetResult:
    rate = Estimate(0.7, 0.6, 0.8, 100)
    scores = (
        Score(DETECTOR, rate, Estimate(*auroc, 100)),
        Score("answer length", rate, Estimate(0.55, 0.45, 0.65, 100)),
    )
    pairs = ((ALL_REFITTED, ALL_RANDOM), (REFITTED, RANDOM))
    differences = () if gap is None else tuple(Difference(*pair, Estimate(*gap, 100)) for pair in pairs)
    random, every = (RandomNeurons(20, size, (0.5, 0.4, 0.6), (0.58, 0.5, 0.66), like)
                     for size, like in ((2, REFITTED), (3, ALL_REFITTED)))  # fmt: skip
    return DatasetResult(name, 50, 50, 1, scores, random, ((), ()), (), differences, every)


RESULTS = {
    "facts": make_result("facts", (0.75, 0.66, 0.83), (0.17, 0.08, 0.26)),
    "nec": make_result("nec", (0.55, 0.45, 0.64), (0.02, -0.1, 0.1)),
    "bioasq": make_result("bioasq", (0.62, 0.53, 0.71), (0.04, -0.05, 0.13)),
    "invented": make_result("invented", (NAN, NAN, NAN), None),
}


def test_a_release_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = save_release(tmp_path / "a", make_detector(), RESULTS, plan={"n": 10, "judge": "alias"})
    loaded = load_release(tmp_path / "a")
    assert loaded.about == saved.about
    assert loaded.neurons.columns.tolist() == [3, 100]
    assert loaded.detector.threshold == 0.1 and loaded.detector.data == {"contributions": "abc", "rows": 200}
    save_release(tmp_path / "b", make_detector(), RESULTS, plan={"n": 10, "judge": "alias"})
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_json_says_what_the_detector_reads_and_where_it_failed(tmp_path: Path) -> None:
    about = save_release(tmp_path, make_detector(), RESULTS).about
    assert about["model"]["tokenizer"] == "t0" and about["model"]["revision"] is None
    assert about["neurons"][0] == {"layer": 0, "neuron": 3, "weight": 2.0, "selection_probability": 0.9}
    assert about["neurons"][1]["selection_probability"] is None
    assert about["tested_on"] == ["facts", "nec", "bioasq"]
    assert about["failed_on"] == ["nec", "bioasq"]
    assert about["domains"][0]["auroc"] == {"value": 0.75, "low": 0.66, "high": 0.83, "n": 100}
    assert abs(about["thresholds"]["probability"] - 0.52498) < 1e-4
    assert len(about["data"]["fingerprint"]) == 16


def test_a_domain_fails_at_chance_or_beside_random_neurons() -> None:
    assert judge_domain(RESULTS["facts"]).outcome == "passed"
    assert "0.170 [0.080, 0.260]" in judge_domain(RESULTS["facts"]).reason
    outcome, reason = judge_domain(RESULTS["nec"])
    assert (outcome, "includes 0.5, which is chance" in reason) == ("failed", True)
    outcome, reason = judge_domain(RESULTS["bioasq"])
    assert outcome == "failed"
    assert "all its neurons, refitted, not better than 3 random neurons fitted alike (0.580 on average)" in reason
    assert "H-neurons, refitted, not better than 2 random neurons fitted alike" in reason
    assert judge_domain(RESULTS["invented"]).outcome == "not testable"
    assert judge_domain(replace(RESULTS["facts"], right=1, wrong=1)).outcome == "not testable"
    assert judge_domain(make_result("no bounds", (0.8, NAN, NAN), None)).outcome == "not testable"
    assert judge_domain(make_result("below", (0.3, 0.2, 0.4), None)).outcome == "failed"


def test_a_comparison_of_unlike_with_unlike_lets_nothing_pass() -> None:
    """Earlier versions set a detector with neurons of negative weight beside random neurons as many as H-neurons."""
    unlike = RandomNeurons(20, 2, (0.5, 0.4, 0.6), (0.58, 0.5, 0.66))
    gap = (Difference(DETECTOR, RANDOM, Estimate(0.17, 0.08, 0.26, 100)),)
    old = replace(RESULTS["facts"], random=unlike, random_all=None, differences=gap)
    outcome, reason = judge_domain(old)
    assert outcome == "not testable" and "Run 'evaluate' again" in reason


def test_h_neurons_alone_are_named_beside_all_neurons_of_the_detector() -> None:
    result = make_result("facts", (0.75, 0.66, 0.83), (0.17, 0.08, 0.26))
    alone = Difference(REFITTED, RANDOM, Estimate(0.01, -0.05, 0.07, 100))
    outcome, reason = judge_domain(replace(result, differences=(result.differences[0], alone)))
    assert outcome == "passed" and "H-neurons, refitted, not better than 2 random neurons" in reason


def test_an_evaluation_of_another_detector_is_not_published(tmp_path: Path) -> None:
    detector = make_detector()
    own = {"facts": replace(RESULTS["facts"], detector_content=detector.content)}
    assert save_release(tmp_path / "own", detector, own).about["tested_on"] == ["facts"]
    for other in (replace(detector, coef=-50 * detector.coef), replace(detector, columns=detector.columns + 1)):
        with pytest.raises(ArtifactError, match="of another detector than this one"):
            save_release(tmp_path / "other", other, own)
    assert not (tmp_path / "other").exists()


def test_the_card_says_it_in_words_and_its_metadata_is_the_hubs(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    save_release(tmp_path, make_detector(), RESULTS, plan={"judge": "alias"})
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.base_model == "owner/model" and card.data.library_name == "hneurons"
    assert [r.dataset_name for r in card.data.eval_results] == ["facts", "nec", "bioasq"]
    for words in (
        "| facts | 50 + 50 | 0.750 [0.660, 0.830] | "
        "0.580 (3, beside all its neurons, refitted: +0.170 [0.080, 0.260]); "
        "0.580 (2, beside H-neurons, refitted: +0.170 [0.080, 0.260]) | 0.550 [0.450, 0.650] | passed |",
        "- **nec** (failed): AUROC 0.550 [0.450, 0.640] on 50 right and 50 wrong answers: the interval includes 0.5",
        "- **invented** (not testable):",
        "| 2 | 4 | 0.5 | not measured |",
        "- judge: alias",
    ):
        assert words in card.content
    assert "Nothing is known about any other domain" not in card.content
    save_release(tmp_path / "none", make_detector(), {})
    text = (tmp_path / "none" / "README.md").read_text()
    assert "not tested on any domain" in text and "Nothing is known about any other domain" in text


def test_a_card_says_of_a_number_that_is_not_known_that_it_is_not(tmp_path: Path) -> None:
    facts = RESULTS["facts"]
    odd = replace(facts, random=replace(facts.random, auroc=(NAN, NAN, NAN)))
    save_release(tmp_path, make_detector(), {"facts": odd})
    assert "– (2, beside H-neurons, refitted" in (tmp_path / "README.md").read_text()


def test_another_model_is_refused_with_what_differs(tmp_path: Path) -> None:
    model = tiny_model()
    save_release(tmp_path, make_detector(model.identity), RESULTS)
    assert len(load_release(tmp_path, model=model).neurons) == 2
    with pytest.raises(InputError, match=r"belong to tiny-llama, not to tiny-llama \(weights: "):
        load_release(tmp_path, model=tiny_model(seed=1))
    with pytest.raises(InputError, match=r"\(tokenizer: "):
        load_release(tmp_path, model=tiny_model(chat=True))
    with pytest.raises(InputError, match=r"\(architecture: llama against gpt2; neurons: 48 against 128"):
        load_release(tmp_path, model=tiny_model("gpt2"))


def test_a_damaged_release_is_one_sentence(tmp_path: Path) -> None:
    save_release(tmp_path, make_detector(), RESULTS)
    whole = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def refused(name: str, content: bytes | None, words: str) -> None:
        (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
        with pytest.raises(ArtifactError, match=words) as caught:
            load_release(tmp_path)
        assert "\n" not in str(caught.value)
        for path, data in whole.items():
            path.write_bytes(data)

    refused("hneurons.json", b"{", "is damaged")
    refused("hneurons.json", b"[]", "is damaged")
    refused("hneurons.json", b'{"schema_version": 9}', "schema version 9, this hneurons reads 1")
    refused("detector.safetensors", None, r"detector\.safetensors is missing or is not what was published")
    refused("neurons.safetensors", b"x", r"neurons\.safetensors is missing or is not")
    row = json.loads(whole[tmp_path / "hneurons.json"])
    model = dict(row["model"])
    row["model"]["weights"] = "other"
    refused("hneurons.json", json.dumps(row).encode(), "was changed after it was written")
    del row["checksum"]
    refused("hneurons.json", json.dumps(row).encode(), "name different models")
    for change, words in (
        ({"files": {}}, r"has no content hash of detector\.json"),
        ({"files": None}, "is damaged"),
        ({"neurons": []}, "name different neurons"),
    ):
        changed = row | {"model": model} | change
        refused("hneurons.json", json.dumps(changed).encode(), words)
    for name in ("detector.safetensors", "neurons.json"):
        lacking = json.loads(whole[tmp_path / "hneurons.json"])
        del lacking["files"][name], lacking["checksum"]
        refused("hneurons.json", json.dumps(lacking).encode(), f"has no content hash of {name}")
    lacking = json.loads(whole[tmp_path / "hneurons.json"])
    del lacking["failed_on"], lacking["checksum"]
    refused("hneurons.json", json.dumps(lacking).encode(), "has no failed_on")
    refused("hneurons.json", b"[" * 100_000, "is damaged")
    with pytest.raises(InputError, match="is no release"):
        load_release(tmp_path.parent)
    with pytest.raises(InputError, match="there is no folder nothing: give the folder of a run"):
        load_release("nothing")
    with pytest.raises(StorageError, match="could not write"):
        save_release(Path("/proc/hneurons"), make_detector(), RESULTS)


def test_a_folder_that_holds_anything_but_a_release_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "a.txt").write_text("mine too")
    with pytest.raises(
        InputError, match=r"holds README\.md and is no release \(no hneurons\.json\): give a new or empty"
    ):
        save_release(tmp_path, make_detector(), RESULTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "a.txt"]
    assert (tmp_path / "README.md").read_text() == "mine"
    make_detector().save(tmp_path / "detector")
    with pytest.raises(InputError, match=r"holds detector\.json and is no release"):
        save_release(tmp_path / "detector", make_detector(), RESULTS)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".gitattributes").write_text("")
    save_release(tmp_path / "new", make_detector(), RESULTS)
    (tmp_path / "new" / "notes.txt").write_text("beside it")
    again = save_release(tmp_path / "new", make_detector(), {"facts": RESULTS["facts"]})
    assert load_release(tmp_path / "new").about == again.about and again.failed_on == []
    assert "nec" not in (tmp_path / "new" / "README.md").read_text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"coef": np.full(3, np.nan)}, "no finite numbers"),
        ({"intercept": float("inf")}, "no finite numbers"),
        ({"columns": np.array([3.0, 40.0, 100.0])}, "no list of whole numbers"),
        ({"coef": np.ones((3, 1))}, "no list of whole numbers"),
        ({"threshold": None}, "are damaged"),
        ({"data": 5}, "are damaged"),
        ({"identity": ModelIdentity("m", "llama", 3, 0, 32, "c", "t", "w")}, "a model of 3 layers with 0 neurons"),
        ({"identity": ModelIdentity(5, "llama", 3, 48, 32, "c", "t", "w")}, "are damaged"),  # type: ignore[arg-type]
    ],
)
def test_what_nothing_fitted_has_is_not_published(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ArtifactError, match=said) as caught:
        save_release(tmp_path / "out", replace(make_detector(), **changes), RESULTS)
    assert "run 'fit' and 'evaluate' again" in str(caught.value) and not (tmp_path / "out").exists()
    odd = replace(RESULTS["facts"], scores=())
    with pytest.raises(ArtifactError, match="the detector or its test results are damaged"):
        save_release(tmp_path / "out", make_detector(), {"facts": odd})


def test_neurons_are_read_of_sets_detectors_and_releases_that_are_whole(tmp_path: Path) -> None:
    detector = make_detector()
    detector.save(tmp_path / "detector")
    detector.neuron_set().save(tmp_path / "set")
    save_release(tmp_path / "release", detector, RESULTS)
    found = [open_neurons(tmp_path / name) for name in ("detector", "set", "release")]
    assert [neurons.columns.tolist() for neurons in found] == [[3, 100]] * 3
    replace(detector, columns=np.array([4, 41, 101])).neuron_set().save(tmp_path / "release")
    with pytest.raises(ArtifactError, match=r"neurons\.json is missing or is not what was published"):
        open_neurons(tmp_path / "release")


@pytest.mark.slow
def test_a_release_goes_to_the_hub_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = save_release(tmp_path / "release", make_detector(), RESULTS)
    (tmp_path / "release" / "secret.txt").write_text("not part of it")
    with run_hub(monkeypatch, tmp_path / "cache") as hub:
        assert push_release(tmp_path / "release", "owner/h-neurons") == f"{hub.url}/owner/h-neurons"
        assert hub.private["owner/h-neurons"]
        assert sorted(hub.files["owner/h-neurons"]) == sorted([*saved.about["files"], "README.md", "hneurons.json"])
        loaded = load_release("owner/h-neurons")
        assert loaded.about == saved.about and loaded.folder.is_relative_to(tmp_path / "cache")
        push_release(tmp_path / "release", "owner/open", public=True)
        assert not hub.private["owner/open"]
        with pytest.raises(EndpointError, match="there is no folder owner/nothing, and the hub does not give it: "):
            load_release("owner/nothing")
        (tmp_path / "release" / "neurons.json").write_text("{}")
        with pytest.raises(ArtifactError):
            push_release(tmp_path / "release", "owner/broken")
        assert "owner/broken" not in hub.files


def test_without_a_hub_fetching_and_pushing_are_one_sentence(tmp_path: Path) -> None:
    save_release(tmp_path, make_detector(), RESULTS)
    with pytest.raises(EndpointError, match="the hub does not give it"):
        load_release("owner/name")
    with pytest.raises(EndpointError, match="could not push to owner/name"):
        push_release(tmp_path, "owner/name")


IDENTITY = make_detector().identity


def save_classifier(path: Path, **changes: Any) -> Path:
    coef = np.zeros((1, 144), np.float32)
    coef[0, [5, 50]] = 1.5, -0.5
    np.savez(path, **{"coef": coef, "intercept": np.array([0.25]), **changes})
    return path


def test_a_scikit_learn_classifier_becomes_a_detector_that_decides_alike(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.random((60, 144)).astype(np.float32)
    y = (x[:, 7] + 0.1 * rng.random(60) > 0.55).astype(int)
    fitted = LogisticRegression(l1_ratio=1.0, solver="liblinear", C=5.0).fit(x, y)
    path = save_classifier(tmp_path / "c.npz", coef=fitted.coef_, intercept=fitted.intercept_)
    detector = read_classifier(path, IDENTITY)
    decided = x[:, detector.columns] @ detector.coef + detector.intercept
    np.testing.assert_allclose(decided, fitted.decision_function(x), atol=1e-5)
    assert 7 in detector.neuron_set().columns
    detector.save(tmp_path / "detector")
    assert Detector.load(tmp_path / "detector").data == detector.data


def test_classifiers_that_do_not_fit_are_refused_and_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    with pytest.raises(InputError, match="pickles are never opened here"):
        (tmp_path / "c.pkl").write_bytes(b"\x80\x04")
        read_classifier(tmp_path / "c.pkl", IDENTITY)
    with pytest.raises(InputError, match="there is no such file"):
        read_classifier(tmp_path / "none.npz", IDENTITY)
    with pytest.raises(InputError, match="could not be read"):
        read_classifier(save_classifier(path, coef=np.array([{"a": 1}], dtype=object)), IDENTITY)
    with pytest.raises(SchemaError, match="100 coefficients and 1 intercepts, owner/model needs 144 "):
        read_classifier(save_classifier(path, coef=np.zeros(100)), IDENTITY)
    with pytest.raises(SchemaError, match="no finite numbers"):
        read_classifier(save_classifier(path, coef=np.full(144, np.nan)), IDENTITY)
    np.savez(path, weights=np.zeros(144))
    with pytest.raises(SchemaError, match="has no array 'coef', found weights"):
        read_classifier(path, IDENTITY)
    np.savez(path, coef=np.zeros(144), intercept=np.array("none"))
    with pytest.raises(SchemaError, match="no finite numbers"):
        read_classifier(path, IDENTITY)
    for damaged in (b"PK broken", b""):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="could not be read"):
            read_classifier(path, IDENTITY)
    with path.open("wb") as file:
        np.save(file, np.zeros(144))
    with pytest.raises(InputError, match="could not be read"):
        read_classifier(path, IDENTITY)
    with zipfile.ZipFile(path, "w", compression=zipfile.ZIP_LZMA) as archive:
        archive.writestr("coef.npy", b"\x93NUMPY" * 100)
    whole = path.read_bytes()
    place = whole.index(b"coef.npy") + len("coef.npy") + 9
    path.write_bytes(whole[:place] + b"\xff" * 8 + whole[place + 8 :])
    with pytest.raises(InputError, match="could not be read") as caught:
        read_classifier(path, IDENTITY)
    assert "\n" not in str(caught.value)


def test_the_verbs_publish_export_and_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run's folder made by hand; the model is tiny."""
    from dataclasses import asdict

    from hneurons.core.artifacts import Manifest
    from hneurons.core.files import file_hash
    from hneurons.runs.plan import RunPlan
    from support.tiny_exports import load, save_model

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hneurons", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            return (int(end.code or 0), *capsys.readouterr())
        return (0, *capsys.readouterr())

    model = save_model(tmp_path / "model")
    folder, release = tmp_path / "run", tmp_path / "release"
    detector = make_detector(replace(load(model).identity, name=str(model)))
    detector.save(folder / "detector")
    (folder / "evaluation").mkdir()
    rows = {name: asdict(result) for name, result in RESULTS.items()}
    (folder / "evaluation" / "evaluation.json").write_text(json.dumps(rows))
    content = file_hash(folder / "evaluation" / "evaluation.json")
    settings = {"detector": detector.data, "detector_settings": detector.settings}
    Manifest("evaluation", settings, expected=1, done=1, complete=True, content=content).save(folder / "evaluation")
    RunPlan(model=str(model), questions="facts").save(folder)

    code, out, _ = run("publish", folder, "--out", release)
    assert code == 0 and "failed: nec: AUROC 0.550" in out
    assert load_release(release).failed_on == ["nec", "bioasq"]
    replace(detector, settings={"seed": 1}).save(folder / "detector")  # fitted again
    code, _, said = run("publish", folder, "--out", tmp_path / "stale")
    assert code != 0 and "of another detector than this one" in said and not (tmp_path / "stale").exists()
    detector.save(folder / "detector")
    common = ("--model", model, "--alpha", 0, "--format")
    code, out, _ = run("export", release, *common, "lora", "--out", tmp_path / "a", "--json")
    assert code == 0 and json.loads(out)["details"] == {"rank": 1}
    code, out, _ = run("export", release, *common, "weights", "--out", tmp_path / "w")
    assert code == 0 and "2 neurons in 2 layers at alpha 0 as weights" in out
    code, _, err = run("export", release, *common, "onnx", "--out", tmp_path / "o")
    assert code == 2 and err.startswith("hneurons: unknown format 'onnx': known are lora, weights, gguf")
    code, out, _ = run("export", folder / "detector", *common, "lora", "--out", tmp_path / "d")
    assert code == 0 and "2 neurons in 2 layers" in out
    whole = (release / "neurons.json").read_bytes()
    (release / "neurons.json").write_bytes(whole + b" ")
    code, _, err = run("export", release, *common, "lora", "--out", tmp_path / "o")
    assert code == 1 and "neurons.json is missing or is not what was published" in err
    (release / "neurons.json").write_bytes(whole)
    code, _, err = run("export", "x" * 5000, *common, "lora", "--out", tmp_path / "o")
    assert code == 2 and "File name too long: check the path" in err and err.count("\n") == 1
    code, _, err = run("publish", folder, "--out", model)
    assert code == 2 and "is no release" in err and not (model / "README.md").exists()
    code, _, err = run("export", tmp_path / "no", *common, "lora", "--out", tmp_path / "o")
    assert code == 2 and "there is no folder" in err
    code, _, err = run("export", release, "--model", model, "--alpha", "much", "--format", "lora", "--out", "o")
    assert code == 2 and "Invalid value for '--alpha'" in err
    path = save_classifier(tmp_path / "c.npz")
    code, out, _ = run("import-classifier", path, "--model", model, "--out", tmp_path / "imported")
    assert code == 0 and "2 columns, 1 of them H-neurons" in out
    assert os.path.isfile(tmp_path / "imported" / "neurons.json")


@pytest.mark.slow
def test_one_flipped_bit_in_any_file_of_a_release_but_its_card_is_refused(tmp_path: Path) -> None:
    save_release(tmp_path, make_detector(), RESULTS)
    names = [path.name for path in tmp_path.iterdir() if path.name != "README.md"]
    assert survivors(tmp_path, lambda: load_release(tmp_path).about, names=names, count=60) == []


def test_a_release_without_checksum_of_an_earlier_version_opens(tmp_path: Path) -> None:
    about = save_release(tmp_path, make_detector(), RESULTS).about
    row = json.loads((tmp_path / "hneurons.json").read_text())
    del row["checksum"]
    (tmp_path / "hneurons.json").write_text(json.dumps(row))
    assert load_release(tmp_path).about == about
