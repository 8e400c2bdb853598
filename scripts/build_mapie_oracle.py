"""Writes tests/detection/decisions/mapie_oracle.json: what MAPIE's learn-then-test finds on known populations.

Run in an environment with MAPIE 1.6 (`pip install mapie==1.6.0`): python scripts/build_mapie_oracle.py

An answer's score s is standard normal, and it is wrong with probability 1 / (1 + exp(-(offset + slope s))). MAPIE is
given the true probability of being right, and three fixed grids of thresholds on it, each from the most careful one
down: its own default turned round, a hundred quantiles, and those of them that answer at least 15%.
"""

import json
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
from mapie.risk_control import BinaryClassificationController, precision
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value

OUT = Path(__file__).parent.parent / "tests" / "detection" / "decisions" / "mapie_oracle.json"
N, DRAWS, TARGET, CONFIDENCE = 300, 500, 0.9, 0.9
POPULATIONS = {"clear": (-0.5, 2.5), "weak": (-1.5, 1.0), "easy": (-2.2, 0.5)}


def main() -> None:
    warnings.filterwarnings("ignore")
    populations = {name: measure(offset, slope) for name, (offset, slope) in POPULATIONS.items()}
    pairs = [(errors, answered) for answered in (22, 37, 38, 60, 150) for errors in range(0, answered // 5 + 1, 2)]
    values = [p_value(errors, answered) for errors, answered in pairs]
    row = {
        "mapie": version("mapie"), "n": N, "draws": DRAWS, "target_precision": TARGET, "confidence": CONFIDENCE,
        "populations": populations, "p_values": [[*pair, value] for pair, value in zip(pairs, values, strict=True)],
    }  # fmt: skip
    OUT.write_text(json.dumps(row) + "\n")


def p_value(errors: int, answered: int) -> float:
    found = compute_hoeffding_bentkus_p_value(
        np.array([errors / answered]), np.array([answered]), np.array([1 - TARGET]), True
    )
    return float(np.ravel(found)[0])


def measure(offset: float, slope: float) -> dict[str, object]:
    """The thresholds on the probability of being right that MAPIE finds in each draw; None where it finds none."""

    def right(s: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(offset + slope * s))

    many = right(np.random.default_rng(99).normal(size=200_000))
    quantiles = np.quantile(many, np.linspace(0.99, 0, 100))
    grids = {
        "default": np.linspace(0.99, 0, 100),
        "quantiles": quantiles,
        "from 15%": quantiles[quantiles <= np.quantile(many, 0.85)],
    }
    found: dict[str, list[float | None]] = {name: [] for name in grids}
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        s = rng.normal(size=N)
        p = right(s)
        wrong = rng.random(N) >= p
        for name, grid in grids.items():
            controller = BinaryClassificationController(
                lambda x: np.stack([1 - x[:, 0], x[:, 0]], axis=1),
                precision,
                target_level=TARGET,
                confidence_level=CONFIDENCE,
                list_predict_params=grid,
                fwer_method="fixed_sequence",
            )
            controller.calibrate(p[:, None], (~wrong).astype(int))
            best = controller.best_predict_param
            found[name].append(None if best is None else round(float(best), 6))
    return {"offset": offset, "slope": slope, "thresholds": found}


if __name__ == "__main__":
    main()
