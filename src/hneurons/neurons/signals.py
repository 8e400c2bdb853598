"""What is measured of every neuron at every token: a signal, registered by name.

`SIGNALS` holds them all. Contributions, the running risk and matched controls read whichever one they are given, so a
new signal is one class with a `register` line.
"""

from typing import TYPE_CHECKING, Protocol

from hneurons.core.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from hneurons.models.language_model import LanguageModel


class Signal(Protocol):
    """A number for every column (a neuron, or a feature) of a layer at every token.

    The value of column j at token t is `read(...)[t, j] * scale(model)[j] / divisor(h)[t]`. The three parts are kept
    apart because the mean over a region's tokens is then one matrix product a layer. The divisor goes into the token
    weights, and the scale is applied once to the sum.
    """

    def width(self, model: "LanguageModel") -> int:
        """Columns a layer."""

    def read(self, layer: int, z: "Tensor", h: "Tensor", columns: "Tensor | None" = None) -> "Tensor":
        """The part that differs by token and column, float32 [..., columns].

        z: input of the down-projection [..., neurons]; h: its output [..., hidden], before any later norm.
        `columns` asks for these columns alone.
        """

    def divisor(self, h: "Tensor") -> "Tensor | None":
        """What each token is divided by, float32 [...] and never 0; None where nothing is."""

    def scale(self, model: "LanguageModel") -> "Tensor | None":
        """What each column is multiplied with, float32 [layers, columns]; None where that is 1."""


SIGNALS: Registry[Signal] = Registry("signal", base=Signal)
CETT = "cett"
"""The signal of arXiv 2512.01797, and of everything that does not name one."""


class Cett:
    """CETT: the share of a token's FFN output norm that one neuron brings, |z| * ||column|| / ||h||.

    CETT[j,t] = |z[j,t]| ||W_down[:,j]||_2 / ||h[t]||_2 (arXiv 2512.01797, section 2.2).
    """

    def width(self, model: "LanguageModel") -> int:
        return model.shape[1]

    def read(self, layer: int, z: "Tensor", h: "Tensor", columns: "Tensor | None" = None) -> "Tensor":
        return _magnitude(z, columns)

    def divisor(self, h: "Tensor") -> "Tensor | None":
        import torch

        norms: Tensor = torch.linalg.vector_norm(h.float(), dim=-1)
        return norms.clamp(min=torch.finfo(torch.float32).tiny)

    def scale(self, model: "LanguageModel") -> "Tensor | None":
        return model.column_norms


class AbsoluteInput:
    """|z|: the size of the down-projection's input, with no regard to what the layer writes."""

    def width(self, model: "LanguageModel") -> int:
        return model.shape[1]

    def read(self, layer: int, z: "Tensor", h: "Tensor", columns: "Tensor | None" = None) -> "Tensor":
        return _magnitude(z, columns)

    def divisor(self, h: "Tensor") -> "Tensor | None":
        return None

    def scale(self, model: "LanguageModel") -> "Tensor | None":
        return None


def _magnitude(z: "Tensor", columns: "Tensor | None") -> "Tensor":
    return (z if columns is None else z[..., columns]).abs().float()


SIGNALS.register(CETT)(Cett())
SIGNALS.register("abs-z")(AbsoluteInput())
