"""The paper's choice of the penalty: held-out accuracy plus what the model can still do without its H-neurons."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hneurons.benchmarks.benchmark import Benchmark, Item
from hneurons.benchmarks.runner import NO_OP, run_benchmark
from hneurons.core.errors import NotEnoughDataError
from hneurons.core.seeds import fingerprint
from hneurons.detection.fitting import Candidate
from hneurons.neurons.neuron_set import NeuronSet

if TYPE_CHECKING:
    from hneurons.models.language_model import LanguageModel

SUPPRESSED = 0.0


@dataclass(frozen=True)
class CapabilityChoice:
    """Choose the point of the path by held-out accuracy + accuracy of the model with that point's H-neurons at alpha 0.

    As in arXiv 2512.01797, where the second is accuracy on TriviaQA. Every distinct set of H-neurons is one condition
    of one sweep over the same items. A reply that cannot be scored counts as not correct. A point without H-neurons
    cannot be chosen; of equal sums the sparser point is.

    `choose` raises `NotEnoughDataError` where no point has both H-neurons and a held-out accuracy.
    """

    model: "LanguageModel"
    name: str
    benchmark: Benchmark
    items: Sequence[Item]
    max_rows: int = 64

    @property
    def settings(self) -> dict[str, Any]:
        """What determines the choice."""
        return {
            "by": "capability",
            "benchmark": self.name,
            "version": self.benchmark.version,
            "n": len(self.items),
            "items": fingerprint([asdict(item) for item in self.items]),
        }

    def choose(self, candidates: Sequence[Candidate], out: Path | None) -> tuple[int, dict[str, Any]]:
        """The point with the highest sum, and the table of all points; the sweep is kept in `out` and resumed."""
        able = [n for n, c in enumerate(candidates) if len(c.neurons) and math.isfinite(c.accuracy)]
        if not able:
            raise NotEnoughDataError("no point of the path has H-neurons and a held-out accuracy: use more questions")
        correct = self._measure({key_of(c.neurons): c.neurons for c in candidates if len(c.neurons)}, out)
        grid = [
            {
                "C": c.C,
                "lambda_ratio": c.lambda_ratio,
                "neurons": len(c.neurons),
                "held_out_accuracy": c.accuracy if math.isfinite(c.accuracy) else None,
                "capability": correct[key_of(c.neurons) if len(c.neurons) else ""] / len(self.items),
            }
            for c in candidates
        ]
        sums = {n: float(candidates[n].accuracy + grid[n]["capability"]) for n in able}  # type: ignore[operator]
        for n, total in sums.items():
            grid[n]["sum"] = total
        plain = correct[""] / len(self.items)
        return max(sums, key=lambda n: (sums[n], -n)), {**self.settings, "plain": plain, "grid": grid}

    def _measure(self, sets: dict[str, NeuronSet], out: Path | None) -> dict[str, int]:
        """Correct replies with each set suppressed, and under "" those of the model as it is."""
        run = run_benchmark(
            self.model, self.name, self.benchmark, self.items, sets, alphas=(SUPPRESSED,), max_rows=self.max_rows,
            out=out,
        )  # fmt: skip
        first = next(iter(sets))
        plain = [r for r in run.records if r.condition == first and r.alpha == NO_OP]
        found = {"": sum(r.outcome == 1 for r in plain)}
        for label in sets:
            mine = (r for r in run.records if r.condition == label and r.alpha == SUPPRESSED)
            found[label] = sum(r.outcome == 1 for r in mine)
        return found


def key_of(neurons: NeuronSet) -> str:
    """A name for a set of neurons, whatever their order and weights."""
    return f"{len(neurons)}-{fingerprint(sorted(neurons.columns.tolist()))}"
