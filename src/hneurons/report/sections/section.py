"""What a section of a run's page is, and what all of them are told about the run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hneurons.core.artifacts import Manifest
from hneurons.detection.detector import Detector
from hneurons.detection.evaluation import DatasetResult
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.report.answer_list import find_strongest
from hneurons.report.findings import is_testable
from hneurons.runs.folder import RunFolder
from hneurons.runs.plan import TRAIN


@dataclass(frozen=True)
class RunPage:
    """A finished run as its page reads it; no model is loaded."""

    run: RunFolder
    detector: Detector
    results: dict[str, DatasetResult]

    @cached_property
    def neurons(self) -> NeuronSet:
        return self.detector.neuron_set()

    @cached_property
    def testable(self) -> dict[str, DatasetResult]:
        """Results on test sets of both classes."""
        return {name: result for name, result in self.results.items() if is_testable(result)}

    @cached_property
    def main(self) -> DatasetResult | None:
        """The result that the page is about first."""
        return next(iter((self.testable or self.results).values()), None)

    @cached_property
    def strongest_answers(self) -> dict[str, list[tuple[str, float]]]:
        """ "layer/neuron" -> the answers of the main test set where its signal is highest."""
        return find_strongest(self.run, self.neurons, self.main.name) if self.main else {}

    @cached_property
    def manifests(self) -> dict[str, dict[str, Manifest]]:
        """Dataset -> finished stage -> manifest: training, the test sets as they were evaluated, then the others."""
        tests = self.run.folder / "test"
        there = sorted(path.name for path in tests.iterdir()) if tests.is_dir() else []
        return {name: self.run.manifests(name) for name in dict.fromkeys([TRAIN, *self.results, *there])}

    @cached_property
    def summaries(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Dataset -> finished stage -> its counts."""
        return {
            name: {stage: manifest.summary for stage, manifest in stages.items()}
            for name, stages in self.manifests.items()
        }


@dataclass(frozen=True)
class Section:
    """One section of the page: `describe` gives the values for `templates/sections/NAME.html`.

    name: the anchor and the template; title: what the navigation says; place: where it stands, the least first.
    A section whose `describe` returns None is left out, as for what this run did not do.
    """

    name: str
    title: str
    place: int
    describe: Callable[[RunPage], Mapping[str, Any] | None]
