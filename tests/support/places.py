"""Where things lie beside the tests: the project, and the shared evaluation data where this checkout has them."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
DATA = SHARED / "data"
REPLAY = SHARED / "replay"
