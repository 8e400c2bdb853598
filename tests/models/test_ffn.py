import pytest
import torch

from hneurons.core.errors import UnsupportedModelError
from hneurons.models.ffn import find_ffns
from support.tiny_models import DENSE, EXPERTS, SHELLS, tiny_transformer


@pytest.mark.parametrize("family", [*DENSE, *SHELLS])
def test_every_decoder_layer_has_one_down_projection_of_the_right_shape(family: str) -> None:
    model = tiny_transformer(family)
    ffns = find_ffns(model)
    neurons = 128 if family == "gpt2" else 48
    assert [f.layer for f in ffns] == [0, 1, 2]
    assert all(f.columns.shape == (32, neurons) and f.neurons == neurons for f in ffns)
    assert len({id(f.down) for f in ffns}) == 3
    assert not any("vision" in f.name for f in ffns)


@pytest.mark.parametrize("family", [*DENSE, *SHELLS])
def test_the_output_of_the_module_is_its_columns_times_its_input(family: str) -> None:
    ffn = find_ffns(tiny_transformer(family))[1]
    z = torch.randn(5, ffn.neurons)
    bias = getattr(ffn.down, "bias", None)
    expected = z @ ffn.columns.T + (0 if bias is None else bias)
    torch.testing.assert_close(ffn.down(z), expected)
    torch.testing.assert_close(ffn.column_norms()[7], ffn.columns[:, 7].norm())


@pytest.mark.parametrize("family", EXPERTS)
def test_a_mixture_of_experts_is_refused_by_the_name_of_its_module(family: str) -> None:
    with pytest.raises(UnsupportedModelError, match=r"layers\.0\..*mixture of experts"):
        find_ffns(tiny_transformer(family))


def test_a_decoder_without_feed_forward_networks_is_refused() -> None:
    model = tiny_transformer("llama")
    for layer in model.model.layers:
        layer.mlp = torch.nn.Identity()
    with pytest.raises(UnsupportedModelError, match="expected one down-projection"):
        find_ffns(model)
