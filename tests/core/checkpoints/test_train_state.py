"""Checkpoints that training resumes from."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from recap_core.checkpoints.train_state import (
    newest_train_state,
    restore_train_state,
    save_train_state,
)
from recap_core.errors import CheckpointError


class State(NamedTuple):
    """Stands for any training state."""

    step: jax.Array
    params: dict[str, Any]
    ema_params: dict[str, Any] | None
    opt_state: optax.OptState


def _state(scale: float = 1.0, *, size: int = 3) -> State:
    params = {"a": {"w": scale * jnp.arange(float(size)), "frozen": None}, "b": jnp.ones(())}
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    return State(jnp.asarray(5, jnp.int32), params, None, optimizer.init(params))


def test_a_state_survives_a_round_trip(tmp_path: Path) -> None:
    """Structure, dtypes and every bit come back, absent leaves included."""
    state = _state(0.1)

    path = save_train_state(tmp_path, state, step=5)
    restored = restore_train_state(path, like=jax.eval_shape(lambda: state))

    assert path == tmp_path / "step_00000005"
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    for new, old in zip(jax.tree.leaves(restored), jax.tree.leaves(state), strict=True):
        assert new.dtype == old.dtype
        np.testing.assert_array_equal(new, old)


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    """Older checkpoints are removed once a newer one is complete."""
    for step in (2, 4, 10):
        save_train_state(tmp_path, _state(), step=step)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000004", "step_00000010"]
    assert newest_train_state(tmp_path) == tmp_path / "step_00000010"


def test_a_half_written_checkpoint_is_never_picked_up(tmp_path: Path) -> None:
    """What a kill during a save leaves behind is skipped, and swept by the next save."""
    save_train_state(tmp_path, _state(), step=2)
    leftover = tmp_path / ".tmp-step_00000004-123-abc"
    leftover.mkdir()

    assert newest_train_state(tmp_path) == tmp_path / "step_00000002"

    save_train_state(tmp_path, _state(), step=6)
    assert not leftover.exists()


def test_the_same_step_is_replaced(tmp_path: Path) -> None:
    """Saving a step again keeps the later content."""
    save_train_state(tmp_path, _state(1.0), step=2)
    path = save_train_state(tmp_path, _state(2.0), step=2)

    restored = restore_train_state(path, like=_state())

    np.testing.assert_array_equal(restored.params["a"]["w"], [0, 2, 4])


def test_no_work_directory_means_no_checkpoint(tmp_path: Path) -> None:
    """A first run finds nothing, with or without the directory."""
    assert newest_train_state(tmp_path) is None
    assert newest_train_state(tmp_path / "absent") is None


def test_another_structure_is_refused(tmp_path: Path) -> None:
    """A checkpoint of another run names the differing paths."""
    path = save_train_state(tmp_path, _state(size=3), step=2)

    with pytest.raises(CheckpointError, match=r"params/a/w: expected \(4,\), found \(3,\)"):
        restore_train_state(path, like=_state(size=4))


def test_another_dtype_is_refused(tmp_path: Path) -> None:
    """Resuming never casts: that would not be the same run."""
    path = save_train_state(tmp_path, {"w": np.ones(2, np.float32)}, step=2)

    with pytest.raises(CheckpointError, match=r"w in .* is float32, expected float16"):
        restore_train_state(path, like={"w": np.ones(2, np.float16)})


def test_restored_arrays_may_be_donated(tmp_path: Path) -> None:
    """A training step may overwrite the restored state in place."""
    path = save_train_state(tmp_path, {"w": np.ones(2, np.float32)}, step=2)
    restored = restore_train_state(path, like={"w": jnp.ones(2)})

    doubled = jax.jit(lambda state: {"w": 2 * state["w"]}, donate_argnums=0)(restored)

    assert restored["w"].is_deleted()
    np.testing.assert_array_equal(doubled["w"], [2, 2])
