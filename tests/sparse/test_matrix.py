import numpy as np
import pytest

from hneurons.core.errors import ArtifactError, InputError
from hneurons.sparse.matrix import ArrayMatrix, ShardMatrix, check_finite
from support.sparse_data import write_shards


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).lognormal(-5, 1, (37, 3 * 20)).astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("memory", [1 << 30, 20_000, 3_000, 1])
@pytest.mark.parametrize("rows", [None, [0, 1, 2], [5, 3, 36, 17, 16], list(range(0, 37, 2))])
def test_slabs_give_every_column_once_and_in_order_whatever_the_memory(tmp_path, features, memory, rows):
    write_shards(tmp_path, features, 3, rows_each=8)
    matrix = ShardMatrix(tmp_path, rows)
    expected = features if rows is None else features[rows]
    assert matrix.shape == expected.shape
    at = 0
    for part, slab in matrix.slabs(memory):
        assert part.start == at
        np.testing.assert_array_equal(slab, expected[:, part])
        at = part.stop
    assert at == expected.shape[1]


@pytest.mark.parametrize("memory", [1 << 30, 3_000])
def test_gathered_columns_are_the_rows_of_the_result_in_the_order_asked_for(tmp_path, features, memory):
    write_shards(tmp_path, features, 3, rows_each=8)
    wanted = np.array([59, 0, 21, 20, 3])
    for matrix in (ShardMatrix(tmp_path, range(5, 30)), ArrayMatrix(features[5:30])):
        np.testing.assert_array_equal(matrix.gather(wanted, memory), features[5:30][:, wanted].T)
    assert ShardMatrix(tmp_path).gather(np.array([], dtype=np.int64), memory).shape == (0, 37)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_an_array_gives_the_same_slabs_in_every_dtype_and_memory(features, dtype):
    matrix = ArrayMatrix(features.astype(dtype))
    for memory in (1, 2_000, 1 << 30):
        slabs = np.concatenate([slab.copy() for _, slab in matrix.slabs(memory)], axis=1)
        assert slabs.dtype == np.float32
        np.testing.assert_array_equal(slabs, features)


def test_a_truncated_shard_is_named(tmp_path, features):
    write_shards(tmp_path, features, 3, rows_each=8)
    shard = tmp_path / "shard-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match=r"shard-00002\.safetensors is damaged or truncated.*promises"):
        ShardMatrix(tmp_path)


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]"])
def test_a_corrupt_shard_is_named(tmp_path, features, content):
    write_shards(tmp_path, features, 3, rows_each=8)
    (tmp_path / "shard-00001.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"shard-00001\.safetensors"):
        ShardMatrix(tmp_path)


def test_a_shard_cut_short_while_it_is_read_is_named(tmp_path, features):
    write_shards(tmp_path, features, 3, rows_each=8)
    matrix = ShardMatrix(tmp_path)
    (tmp_path / "shard-00003.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"shard-00003\.safetensors is truncated"):
        list(matrix.slabs(1 << 30))


def test_a_missing_shard_and_a_missing_row_are_errors(tmp_path, features):
    write_shards(tmp_path, features, 3, rows_each=8)
    with pytest.raises(InputError, match="row 37 was asked for"):
        ShardMatrix(tmp_path, [37])
    (tmp_path / "shard-00001.safetensors").unlink()
    with pytest.raises(ArtifactError, match="lacks one of its"):
        ShardMatrix(tmp_path)
    write_shards(tmp_path, features, 3, rows_each=8)
    (tmp_path / "shard-00004.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"32 rows in its shards, the last being shard-00003.*but 37"):
        ShardMatrix(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named_by_row_id_and_column(tmp_path, features, value):
    features[11, 42] = value
    write_shards(tmp_path, features, 3, rows_each=8)
    matrix = ShardMatrix(tmp_path)
    with pytest.raises(InputError, match=r"row 'q5#11' holds .* in column 42"):
        for part, slab in matrix.slabs(1 << 30):
            check_finite(matrix, part, slab)


def test_the_content_fingerprint_depends_on_values_and_rows(tmp_path, features):
    write_shards(tmp_path, features, 3, rows_each=8)
    assert ShardMatrix(tmp_path).content == ShardMatrix(tmp_path).content != ShardMatrix(tmp_path, [1]).content
    changed = features.copy()
    changed[3, 4] += 1
    assert ArrayMatrix(features).content == ArrayMatrix(features.copy()).content != ArrayMatrix(changed).content
