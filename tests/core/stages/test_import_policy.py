"""Policies of other software become artifacts, and leave the store again."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recap_core.checkpoints.lerobot_policy import write_lerobot_settings
from recap_core.checkpoints.lerobot_weights import (
    WEIGHTS,
    read_lerobot_params,
    write_lerobot_params,
)
from recap_core.checkpoints.locate import locate_checkpoint
from recap_core.checkpoints.params import has_nnx_values, load_params
from recap_core.checkpoints.policy_checkpoint import (
    read_policy,
    read_policy_config,
    write_norm_stats,
)
from recap_core.checkpoints.trees import flatten, unflatten
from recap_core.config.import_policy import ExportPolicyConfig
from recap_core.config.policy import PolicyConfig
from recap_core.errors import CheckpointError, ConfigError, DataError
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.store import Store
from recap_core.models.parameters import Params, count_params
from recap_core.progress import Bar
from recap_core.stages.export_policy import export_policy
from recap_core.stages.import_policy import describe_policy, import_policy
from tests.core.checkpoints import tiny


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "home")


@pytest.fixture
def step(tmp_path: Path) -> Path:
    """Step 29999 of an openpi training."""
    return tiny.write_as_openpi(tmp_path / "fold" / "29999", tiny.random_params())


def _import(
    path: Path,
    store: Store,
    policy: PolicyConfig | None = None,
    *,
    copies: bool = False,
    **options: Any,  # noqa: ANN401
) -> PolicyCheckpoint:
    source = describe_policy(path, policy or tiny.policy(), store=store, **options)
    return import_policy(source, name="towels", store=store, copies=copies)


def _lerobot(directory: Path, params: Params) -> Path:
    directory.mkdir()
    write_lerobot_params(directory / WEIGHTS, params, tiny.FULL)
    write_lerobot_settings(directory, tiny.policy(), tiny.norm_stats(), dtype="float32")
    return directory


def test_an_openpi_step_becomes_a_policy(step: Path, store: Store) -> None:
    """Parameters shared unread, norm stats and configuration beside them, origin recorded."""
    policy = _import(step.parent, store)

    files = read_policy(store.path(policy))
    assert files.config == tiny.policy()
    assert files.norm_stats.to_json_dict() == tiny.norm_stats().to_json_dict()
    tiny.assert_equal(load_params(files.params), tiny.random_params())
    assert policy.num_params == count_params(tiny.shapes())
    assert policy.num_steps == 30_000
    assert (policy.source, policy.source_layout, policy.source_step) == (str(step), "openpi", 29999)
    assert policy.source_digest is not None
    for file in (step / "params").rglob("*"):
        if file.is_file():
            inside = files.params / file.relative_to(step / "params")
            assert inside.stat().st_ino == file.stat().st_ino
    store.verify(policy)


def test_copies_leave_the_source_alone(step: Path, store: Store) -> None:
    """No file is shared, none becomes read-only."""
    policy = _import(step, store, copies=True)

    shared = {path.stat().st_ino for path in step.rglob("*") if path.is_file()}
    assert not shared & {path.stat().st_ino for path in store.path(policy).rglob("*")}
    assert all(path.stat().st_mode & 0o200 for path in step.rglob("*"))


def test_the_same_content_is_found_again_wherever_it_lies(step: Path, store: Store) -> None:
    """Not the path but the content is in the key; other norm stats are another policy."""
    policy = _import(step, store)
    elsewhere = shutil.copytree(step, step.parents[1] / "moved")
    linked = step.parents[1] / "linked"
    linked.symlink_to(elsewhere)

    assert _import(elsewhere, store).id == policy.id
    assert _import(linked / "params", store).id == policy.id

    stats = elsewhere / "assets" / "local" / "towels" / "norm_stats.json"
    content = json.loads(stats.read_text())
    content["norm_stats"]["state"]["mean"][0] = 9.0
    stats.write_text(json.dumps(content))
    assert _import(elsewhere, store).id != policy.id


def test_the_only_norm_stats_are_taken_and_named(step: Path, store: Store) -> None:
    """The configuration's asset id follows the checkpoint's, so that it can be exported again."""
    policy = _import(step, store, tiny.policy(tiny.FULL, asset_id="trossen"))

    assert read_policy(store.path(policy)).config.embodiment.asset_id == tiny.ASSET


def test_norm_stats_are_chosen_by_name(step: Path, store: Store) -> None:
    """Of several, none is guessed; what there is, is listed."""
    write_norm_stats(step, "droid", tiny.norm_stats())
    stranger = tiny.policy(tiny.FULL, asset_id="trossen")

    with pytest.raises(
        CheckpointError,
        match=r"no norm stats of asset 'trossen', only of \['droid', 'local/towels'\]",
    ):
        _import(step, store, stranger)
    policy = _import(step, store, stranger, asset_id="droid")

    assert (store.path(policy) / "assets" / "droid" / "norm_stats.json").is_file()


def test_norm_stats_may_come_from_a_file(step: Path, store: Store, tmp_path: Path) -> None:
    """They are part of the key, and must be finite."""
    shutil.rmtree(step / "assets")
    file = tmp_path / "norm_stats.json"
    file.write_text(json.dumps(tiny.norm_stats().to_json_dict()))

    with pytest.raises(CheckpointError, match=r"brings no norm stats.*--norm-stats.*--base"):
        _import(step, store)
    policy = _import(step, store, norm_stats=file)
    assert read_policy(store.path(policy)).norm_stats.feature("state").std[1] == 2

    file.write_text(file.read_text().replace("[1.0, 2.0,", "[1.0, NaN,"))
    with pytest.raises(CheckpointError, match="not finite: std of state"):
        _import(step, store, norm_stats=file)


def test_a_base_policy_has_no_norm_stats(step: Path, store: Store) -> None:
    """It is another artifact than the same policy of a robot."""
    base = _import(step, store, base=True)

    assert base.id != _import(step, store).id
    assert read_policy_config(store.path(base)) == tiny.policy()
    with pytest.raises(CheckpointError, match="it is a base policy"):
        read_policy(store.path(base))


def test_a_lora_checkpoint_needs_its_configuration(tmp_path: Path, store: Store) -> None:
    """The wrong one is refused before anything is written; the right one keeps every leaf."""
    params = tiny.random_params(tiny.LORA)
    step = tiny.write_as_openpi(tmp_path / "lora" / "9", params)

    with pytest.raises(CheckpointError, match=r"rank 2 on the vlm.*configuration has none"):
        _import(step, store)
    policy = _import(step, store, tiny.policy(tiny.LORA))

    tiny.assert_equal(load_params(store.path(policy) / "params"), params)
    assert [artifact.id for artifact in store.artifacts()] == [policy.id]


def test_numbers_that_are_not_finite_are_not_published(tmp_path: Path, store: Store) -> None:
    """Neither of openpi's files nor of lerobot's."""
    flat = flatten(tiny.random_params())
    bad = flat["action_out_proj/bias"].copy()
    bad[2] = np.nan
    params = unflatten(flat | {"action_out_proj/bias": bad})

    for path in (
        tiny.write_as_openpi(tmp_path / "1", params),
        _lerobot(tmp_path / "lerobot", params),
    ):
        with pytest.raises(CheckpointError, match=r"1 in action_out_proj/bias"):
            _import(path, store)

    assert list(store.artifacts()) == []


class _Intruder:
    """Somebody who writes into a file while it is imported."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        """A bar that writes once."""
        del label, total, done
        self._path.write_bytes(self._path.read_bytes() + b" ")
        yield self

    def update(self, done: int, note: str = "") -> None:
        """Nothing."""


def test_a_source_that_changes_meanwhile_is_refused(step: Path, store: Store) -> None:
    """Nothing is published."""
    source = describe_policy(step, tiny.policy(), store=store)
    intruder = _Intruder(step / "params" / "_METADATA")

    with pytest.raises(CheckpointError, match="changed while it was imported"):
        import_policy(source, name="towels", store=store, copies=True, progress=intruder)

    assert list(store.artifacts()) == []


def test_a_lerobot_policy_becomes_a_policy(tmp_path: Path, store: Store) -> None:
    """In openpi's layout, with lerobot's own norm stats."""
    policy = _import(_lerobot(tmp_path / "lerobot", tiny.random_params()), store)

    files = read_policy(store.path(policy))
    assert files.norm_stats.to_json_dict() == tiny.norm_stats().to_json_dict()
    tiny.assert_equal(load_params(files.params), tiny.random_params())
    assert (policy.num_steps, policy.source_layout, policy.source_step) == (0, "lerobot", None)


def test_an_export_for_openpi_comes_back_the_same(step: Path, store: Store, tmp_path: Path) -> None:
    """Same layout, step and content: importing the export finds the same artifact."""
    policy = _import(step, store, copies=True)

    written = export_policy(policy, tmp_path / "out", ExportPolicyConfig(), store=store)

    assert written.directory == tmp_path / "out" / "29999"
    assert not written.has_lora
    assert has_nnx_values(written.directory / "params")
    assert _import(tmp_path / "out", store).id == policy.id


def test_steps_are_added_to_an_experiment_and_never_replaced(
    step: Path, store: Store, tmp_path: Path
) -> None:
    """A taken step is an error, another one is written beside it."""
    policy = _import(step, store)
    for number in (3, 20):
        export_policy(policy, tmp_path / "out", ExportPolicyConfig(step=number), store=store)

    with pytest.raises(DataError, match="20 exists and is not empty"):
        export_policy(policy, tmp_path / "out", ExportPolicyConfig(step=20), store=store)

    assert locate_checkpoint(tmp_path / "out").step == 20
    assert locate_checkpoint(tmp_path / "out").num_steps_found == 2


def test_an_export_for_lerobot_has_adapters_merged_only(tmp_path: Path, store: Store) -> None:
    """Lerobot knows no adapters of ours: refused, or folded into the weights."""
    step = tiny.write_as_openpi(tmp_path / "lora" / "9", tiny.random_params(tiny.LORA))
    policy = _import(step, store, tiny.policy(tiny.LORA))
    output = tmp_path / "lerobot"

    with pytest.raises(ConfigError, match="the experts must have no LoRA"):
        export_policy(policy, output, ExportPolicyConfig(layout="lerobot"), store=store)
    assert not output.exists()
    merged = ExportPolicyConfig(layout="lerobot", merge_lora=True)
    export_policy(policy, output, merged, store=store)

    assert flatten(read_lerobot_params(output, tiny.FULL)).keys() == flatten(tiny.shapes()).keys()
    assert (output / "policy_preprocessor.json").is_file()


def test_an_export_never_goes_into_the_store(step: Path, store: Store) -> None:
    """Its directories belong to it."""
    policy = _import(step, store)

    with pytest.raises(ConfigError, match="inside of the store"):
        export_policy(policy, store.home / "out", ExportPolicyConfig(), store=store)


KILLED = """
import os, signal, sys
from contextlib import contextmanager
from pathlib import Path
from recap_core.config.import_policy import ExportPolicyConfig
from recap_core.lineage.store import Store
from recap_core.stages.export_policy import export_policy

class Killer:
    @contextmanager
    def bar(self, label, total, done=0):
        yield self
    def update(self, done, note=""):
        if done == 2:
            os.kill(os.getpid(), signal.SIGKILL)

store = Store(Path(sys.argv[1]))
policy = next(iter(store.artifacts())).artifact()
export_policy(policy, Path(sys.argv[2]), ExportPolicyConfig(), store=store, progress=Killer())
"""


def test_a_killed_export_leaves_nothing_to_see(step: Path, store: Store, tmp_path: Path) -> None:
    """No step appears, and the next export of it succeeds and cleans up."""
    policy = _import(step, store)
    output = tmp_path / "out"

    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", KILLED, str(store.home), str(output)],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[3],
        check=False,
    )

    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in output.iterdir() if not path.name.startswith(".")] == []
    with pytest.raises(CheckpointError, match="holds no openpi checkpoint"):
        locate_checkpoint(output)
    export_policy(policy, output, ExportPolicyConfig(), store=store)
    assert [path.name for path in output.iterdir() if path.is_dir()] == ["29999"]
