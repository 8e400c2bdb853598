"""Datasets are called after the file they were read from, and those that have a name keep it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hneurons.core.errors import ArtifactError
from hneurons.core.files import read_checked, write_checked
from hneurons.models.engine import LocalEngine
from hneurons.runs.folder import RunFolder
from hneurons.runs.naming import name_as_before, name_datasets
from hneurons.runs.plan import RunPlan
from hneurons.runs.run import Run
from support.planted import read_tree
from support.tiny_run import make_plan, plant_judge


@pytest.mark.parametrize(
    ("specs", "names"),
    [
        (("triviaqa", "nq-open:nq.jsonl", "triviaqa:x.csv"), ("triviaqa", "nq-open", "triviaqa-2")),
        (("file:/a/nq.v2.jsonl.gz", "file:My own (2).csv", "file:b/NQ.v2.json"), ("nq.v2", "My-own-2", "NQ.v2-2")),
        (("file:train.jsonl", "file:train.csv", "file:TRAIN.csv"), ("held-out", "held-out-2", "held-out-3")),
        (("recorded:answers.jsonl", "file:a.csv, b.csv", "file:東京.tsv"), ("answers", "a-b", "東京")),
        (("file:...", "file:", "file:../../x y"), ("file", "file-2", "x-y")),
        (("file:" + "a" * 300 + ".csv",), ("a" * 60,)),
    ],
)
def test_a_dataset_is_called_after_its_set_or_file(specs: tuple[str, ...], names: tuple[str, ...]) -> None:
    assert name_datasets(specs) == names


def test_what_has_a_name_keeps_it_wherever_its_file_lies_and_whatever_stands_beside_it() -> None:
    old = ("file:/old/train.jsonl", "file:/old/bio.csv", "nec:n.jsonl")
    assert name_as_before(old) == ("file", "file-2", "nec")
    earlier = list(zip(old, name_as_before(old), strict=True))
    assert name_datasets(("file:/new/train.jsonl", "nec:n.jsonl", "file:x/bio.csv"), earlier) == (
        "file",
        "nec",
        "file-2",
    )
    assert name_datasets(("file:/new/train.jsonl", "file:other.csv"), earlier) == ("file", "other")
    assert name_datasets(("file:y.csv", "file:file.csv"), [("file:y.csv", "file")]) == ("file", "file-2")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every dataset's first round that the model is asked to draw."""
    asked: list[str] = []
    prepare = LocalEngine.prepare

    def listen(self: LocalEngine, questions: list[object], *rest: object) -> object:
        asked.append(str(len(questions)))
        return prepare(self, questions, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalEngine, "prepare", listen)
    plant_judge(monkeypatch)
    return asked


def test_a_run_of_an_earlier_version_opens_and_goes_on_under_its_names(tmp_path: Path, drawn: list[str]) -> None:
    plan = make_plan(tmp_path, n=1, min_agreement=1, shots=0, max_new_tokens=3, limit=30, test_limit=5)
    folder = tmp_path / "run"
    assert list(Run(folder, plan).sample()) == ["train", "held-out", "test"] and len(drawn) == 3
    shutil.move(folder / "test/held-out", folder / "test/file")
    shutil.move(folder / "test/test", folder / "test/file-2")
    row = read_checked(folder / "run.json")
    assert row.pop("names") == ["held-out", "test"]
    write_checked(folder / "run.json", row)
    before = read_tree(folder)
    assert RunFolder(folder).datasets() == ["train", "file", "file-2"]
    (tmp_path / "moved").mkdir()
    for name in ("train.jsonl", "test.jsonl.gz"):
        shutil.move(tmp_path / name, tmp_path / "moved" / name)
    for _ in range(2):
        moved = replace(
            plan, questions=f"file:{tmp_path}/moved/train.jsonl", tests=(f"file:{tmp_path}/moved/test.jsonl.gz",)
        )
        assert list(Run(folder, moved).sample()) == ["train", "file", "file-2"]
    assert len(drawn) == 3 and RunPlan.load(folder).names == ("file", "file-2")
    same = [name for name, data in read_tree(folder).items() if before[name] == data]
    assert {name for name in before if "responses" in name} <= set(same)


def test_a_file_that_was_renamed_is_known_by_its_content(tmp_path: Path, drawn: list[str]) -> None:
    plan = make_plan(tmp_path, n=1, min_agreement=1, shots=0, max_new_tokens=3, limit=30, test_limit=5)
    Run(tmp_path / "run", plan).sample()
    shutil.move(tmp_path / "test.jsonl.gz", tmp_path / "renamed.jsonl.gz")
    drawn.clear()
    counts = Run(tmp_path / "run", replace(plan, tests=(f"file:{tmp_path}/renamed.jsonl.gz",))).sample()
    assert list(counts) == ["train", "held-out", "test"] and not drawn


def test_answers_of_a_dataset_that_has_another_name_now_are_not_drawn_again(tmp_path: Path, drawn: list[str]) -> None:
    plan = make_plan(tmp_path, n=1, min_agreement=1, shots=0, max_new_tokens=3, limit=30, test_limit=5)
    folder = tmp_path / "run"
    Run(folder, plan).sample()
    (tmp_path / "version-2.jsonl").write_bytes((tmp_path / "train.jsonl").read_bytes() + b"\n")
    drawn.clear()
    counts = Run(folder, replace(plan, questions=f"file:{tmp_path}/version-2.jsonl")).sample()
    assert list(counts) == ["train", "version-2", "test"]
    old, new = (folder / f"test/{name}/responses/rows.jsonl" for name in ("held-out", "version-2"))
    assert old.read_bytes() == new.read_bytes() and not drawn


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["train", "a"], ["../a", "b"], [".", "b"], ["", "b"]])
def test_names_that_are_no_folders_are_refused(tmp_path: Path, names: list[str]) -> None:
    RunPlan(model="m", questions="facts", tests=("nec:x",)).save(tmp_path)
    path = tmp_path / "run.json"
    write_checked(path, read_checked(path) | {"names": names})
    with pytest.raises(ArtifactError, match="is damaged"):
        RunPlan.load(tmp_path)
