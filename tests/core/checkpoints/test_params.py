"""Parameters in openpi's layout, written and read."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx

from recap_core.checkpoints.params import (
    check_stored_finite,
    has_nnx_values,
    load_params,
    save_params,
)
from recap_core.checkpoints.trees import flatten, unflatten
from recap_core.errors import CheckpointError

GOLDEN = Path(__file__).parents[2] / "golden" / "openpi"


@pytest.fixture(scope="module")
def golden_params() -> dict[str, Any]:
    """The 51 leaves of openpi's tiny pi0.5."""
    with np.load(GOLDEN / "pi05_tiny_params.npz", allow_pickle=False) as arrays:
        return unflatten(dict(arrays))


@pytest.fixture(scope="module")
def golden_checkpoint(
    golden_params: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The golden parameters as this package writes them."""
    path = tmp_path_factory.mktemp("checkpoint") / "params"
    save_params(path, golden_params)
    return path


def _write_as_reference(path: Path, tree: Any) -> None:  # noqa: ANN401 - any pytree
    """What openpi's writer does: a bare PyTree save of device arrays."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(path, {"params": tree})


def _assert_equal(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    actual, expected = flatten(actual), flatten(expected)
    assert actual.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_array_equal(actual[path], leaf, err_msg=path)
        assert actual[path].dtype == leaf.dtype, path


def test_golden_params_survive_a_round_trip(
    golden_checkpoint: Path, golden_params: dict[str, Any]
) -> None:
    """All 51 leaves come back bit for bit, as NumPy arrays."""
    loaded = load_params(golden_checkpoint, like=golden_params)

    _assert_equal(loaded, golden_params)
    assert len(flatten(loaded)) == 51
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(loaded))


def test_files_are_what_openpi_restores(
    golden_checkpoint: Path, golden_params: dict[str, Any]
) -> None:
    """A plain Orbax PyTree restore, as in openpi's loader, finds one top key and OCDBT files."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        item = {"params": checkpointer.metadata(golden_checkpoint).item_metadata.tree["params"]}
        args = jax.tree.map(lambda _: ocp.ArrayRestoreArgs(restore_type=np.ndarray), item)
        restored = checkpointer.restore(
            golden_checkpoint, ocp.args.PyTreeRestore(item=item, restore_args=args)
        )
    settings = json.loads((golden_checkpoint / "_METADATA").read_text())

    _assert_equal(restored["params"], golden_params)
    assert settings["use_ocdbt"]
    assert not settings["use_zarr3"]


def test_a_tree_written_by_flax_nnx_loses_its_value_level(tmp_path: Path) -> None:
    """An nnx State ends every path in ``value``; the loader strips that level."""

    class Model(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.action_in_proj = nnx.Linear(2, 3, rngs=rngs)

    model = Model(nnx.Rngs(0))
    _write_as_reference(tmp_path / "params", nnx.state(model))
    on_disk = json.loads((tmp_path / "params" / "_METADATA").read_text())["tree_metadata"]

    loaded = load_params(tmp_path / "params")

    assert all(path.endswith("'value')") for path in on_disk)
    assert flatten(loaded).keys() == {"action_in_proj/kernel", "action_in_proj/bias"}
    np.testing.assert_array_equal(
        loaded["action_in_proj"]["kernel"], model.action_in_proj.kernel[...]
    )


def test_a_leaf_that_is_really_called_value_stays(tmp_path: Path) -> None:
    """The level is stripped only where every leaf ends in it."""
    tree = {"head": {"value": np.ones(2, np.float32)}, "bias": np.ones(1, np.float32)}
    save_params(tmp_path / "params", tree)

    _assert_equal(load_params(tmp_path / "params"), tree)


def test_device_arrays_are_read_as_numpy(tmp_path: Path) -> None:
    """A checkpoint of device arrays, which names its devices, needs none of them."""
    _write_as_reference(tmp_path / "params", {"w": jnp.arange(3.0)})

    loaded = load_params(tmp_path / "params")

    assert type(loaded["w"]) is np.ndarray
    np.testing.assert_array_equal(loaded["w"], [0, 1, 2])


def test_bfloat16_on_request(golden_checkpoint: Path) -> None:
    """Serving reads every floating-point leaf as bfloat16."""
    loaded = load_params(golden_checkpoint, dtype=jnp.bfloat16)

    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {jnp.dtype(jnp.bfloat16)}


def test_bfloat16_leaves_survive_a_round_trip(tmp_path: Path) -> None:
    """Frozen leaves of a LoRA run are stored in bfloat16."""
    tree = {"w": np.linspace(0, 1, 7).astype(jnp.bfloat16)}
    save_params(tmp_path / "params", tree)

    _assert_equal(load_params(tmp_path / "params"), tree)


def test_a_strict_load_names_missing_and_extra_paths(tmp_path: Path) -> None:
    """The message has every difference, by path and count."""
    save_params(tmp_path / "params", {"a": np.zeros(2), "lora_a": np.zeros(2)})

    with pytest.raises(CheckpointError, match=r"1 missing \(b\); 1 extra \(lora_a\); 1 leaves"):
        load_params(tmp_path / "params", like={"a": np.zeros(2), "b": np.zeros(2)})


def test_a_wrong_shape_is_an_error_even_if_not_strict(tmp_path: Path) -> None:
    """A leaf of another shape is never dropped in silence."""
    save_params(tmp_path / "params", {"a": np.zeros((2, 3))})

    with pytest.raises(CheckpointError, match=r"a: expected \(3, 2\), found \(2, 3\)"):
        load_params(tmp_path / "params", like={"a": np.zeros((3, 2))}, strict=False)


def test_a_lax_load_keeps_what_both_have(tmp_path: Path) -> None:
    """Extra leaves are dropped, missing ones left out, dtypes follow ``like``."""
    save_params(tmp_path / "params", {"a": np.ones(2), "extra": np.ones(1)})
    like = {"a": jax.ShapeDtypeStruct((2,), jnp.float32), "b": np.zeros(1)}

    loaded = load_params(tmp_path / "params", like=like, strict=False)

    _assert_equal(loaded, {"a": np.ones(2, np.float32)})


def test_other_top_keys_are_refused(tmp_path: Path) -> None:
    """A checkpoint with an optimiser state is no ``params`` directory."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "all", {"params": {"a": np.ones(1)}, "step": np.ones(1)})

    with pytest.raises(CheckpointError, match=r"top keys \['params', 'step'\]"):
        load_params(tmp_path / "all")


def test_a_directory_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    """A wrong path says so, and says what to name instead."""
    with pytest.raises(CheckpointError, match=r"no Orbax checkpoint.*<step>/params"):
        load_params(tmp_path)


def test_a_checkpoint_is_never_overwritten(golden_checkpoint: Path) -> None:
    """Writing where one exists is an error, and leaves the old one as it was."""
    with pytest.raises(CheckpointError, match="exists"):
        save_params(golden_checkpoint, {"a": np.ones(1)})

    assert len(flatten(load_params(golden_checkpoint))) == 51


def test_leaves_go_straight_to_their_devices(tmp_path: Path) -> None:
    """With a sharding, JAX arrays come back, on the named devices and in the asked type."""
    tree = {
        "a": {"w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)},
        "n": np.arange(2, dtype=np.int32),
    }
    save_params(tmp_path / "params", tree)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("fsdp",))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("fsdp"))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    loaded = load_params(
        tmp_path / "params", dtype=jnp.bfloat16, sharding={"a": {"w": split}, "n": whole}
    )

    assert loaded["a"]["w"].sharding == split
    assert loaded["n"].sharding == whole
    _assert_equal(
        jax.tree.map(np.asarray, loaded),
        {"a": {"w": tree["a"]["w"].astype(jnp.bfloat16)}, "n": tree["n"]},
    )


def test_reading_casts_as_numpy_does(
    golden_params: dict[str, Any], golden_checkpoint: Path
) -> None:
    """Float32 to bfloat16 while reading gives the bits of a cast afterwards."""
    loaded = load_params(golden_checkpoint, dtype=jnp.bfloat16)

    _assert_equal(loaded, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), golden_params))


def test_leaves_are_compared_before_any_is_read(
    golden_checkpoint: Path, golden_params: dict[str, Any], tmp_path: Path
) -> None:
    """A checkpoint that does not fit says so although its arrays are gone."""
    copy = shutil.copytree(golden_checkpoint, tmp_path / "params")
    for file in copy.glob("ocdbt.process_0/d/*"):
        file.unlink()
    like = golden_params | {"action_in_proj": {"kernel": np.zeros((1, 1), np.float32)}}

    with pytest.raises(CheckpointError, match=r"1 wrong shape"):
        load_params(copy, like=like)


def test_value_levels_are_written_on_request(tmp_path: Path) -> None:
    """As openpi's training writes them, and read back without."""
    tree = {"head": {"kernel": np.ones((2, 2), np.float32)}, "bias": np.zeros(2, np.float32)}

    save_params(tmp_path / "with", tree, nnx_values=True)
    save_params(tmp_path / "without", tree)

    with ocp.PyTreeCheckpointer() as checkpointer:
        on_disk = checkpointer.metadata(tmp_path / "with").item_metadata.tree
    assert on_disk["params"].keys() == {"head", "bias"}
    assert on_disk["params"]["bias"].keys() == {"value"}
    assert has_nnx_values(tmp_path / "with")
    assert not has_nnx_values(tmp_path / "without")
    _assert_equal(load_params(tmp_path / "with"), tree)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_parameters_that_are_not_finite_are_not_written(
    tmp_path: Path, value: float, dtype: jax.typing.DTypeLike
) -> None:
    """Every leaf is looked at, also bfloat16; nothing appears."""
    bad = np.zeros(5, dtype)
    bad[3] = value

    with pytest.raises(CheckpointError, match=r"1 leaves hold NaN or infinity \(1 in a/w\)"):
        save_params(tmp_path / "params", {"a": {"w": bad}, "b": np.ones(2, np.float32)})

    assert list(tmp_path.iterdir()) == []


def test_stored_parameters_that_are_not_finite_are_found(tmp_path: Path) -> None:
    """What others wrote is read leaf by leaf."""
    _write_as_reference(tmp_path / "good", {"a": jnp.ones(3), "step": jnp.arange(2)})
    _write_as_reference(tmp_path / "bad", {"a": jnp.ones(3), "b": jnp.array([0.0, jnp.nan])})

    assert check_stored_finite(tmp_path / "good") == 5
    with pytest.raises(CheckpointError, match="1 in b"):
        check_stored_finite(tmp_path / "bad")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no manifest": lambda path: (path / "manifest.ocdbt").unlink(),
    "broken metadata": lambda path: (path / "_METADATA").write_text("{"),
    "no data": lambda path: shutil.rmtree(path / "ocdbt.process_0" / "d"),
    "no index": lambda path: shutil.rmtree(path / "d"),
    "cut data": lambda path: [
        os.truncate(file, 10) for file in (path / "ocdbt.process_0" / "d").iterdir()
    ],
    "cut index": lambda path: [os.truncate(file, 10) for file in (path / "d").iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: str) -> None:
    """Whatever is missing or cut short, the error is one line about this directory."""
    # One leaf: of several, the library reports the later failures to nobody, in its own threads.
    path = tmp_path / "params"
    save_params(path, {"w": np.random.default_rng(0).standard_normal((100, 100))})
    DAMAGES[damage](path)

    with pytest.raises(CheckpointError, match=r"cannot be read.*missing or damaged") as error:
        load_params(path)

    assert str(path) in str(error.value)
    assert len(str(error.value)) < 800
    assert "tensorstore_spec" not in str(error.value)
