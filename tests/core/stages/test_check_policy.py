"""The offline check of a policy that has learned nothing, on frames with a camera."""

import jax
import pytest

from recap_core.checkpoints.policy_checkpoint import write_policy
from recap_core.config.gate import GateConfig
from recap_core.config.offline import CheckPolicyConfig
from recap_core.lineage.artifacts import OfflineCheck, PolicyCheckpoint
from recap_core.lineage.store import Build, Built, Store
from recap_core.models.parameters import count_params
from recap_core.models.policy import Policy
from recap_core.stages.check_policy import check_policy, read_offline_check
from recap_core.stages.judge import judge
from recap_core.stages.norm_stats import NORM_STATS_FILE, read_statistics
from recap_core.stages.registry import TRAIN_POLICY
from tests.core.stages.policy_training import MODEL, config, inputs

CONFIG = CheckPolicyConfig(held_out_share=0.4, max_frames_per_class=4, execute_frames=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def policy(store: Store) -> PolicyCheckpoint:
    """Fresh parameters, said to be trained on the dataset."""
    dataset, stats = inputs(store)
    settings = config(MODEL, 1)

    def build(area: Build) -> Built:
        params = Policy(MODEL).init(jax.random.key(0))
        statistics = read_statistics(store.path(stats) / NORM_STATS_FILE)
        write_policy(area.output, params, settings.policy, statistics)
        return Built({"num_steps": 1, "num_params": count_params(params)})

    return store.produce(TRAIN_POLICY, settings, {"dataset": dataset}, name="policy", build=build)


@pytest.fixture(scope="module")
def check(store: Store, policy: PolicyCheckpoint) -> OfflineCheck:
    """It, beside itself."""
    return check_policy(inputs(store)[0], policy, policy, CONFIG, name="check", store=store)


def test_a_policy_is_as_good_as_itself(store: Store, check: OfflineCheck) -> None:
    """The same frames, the same noise: errors of both are equal, of every class that there is."""
    found = read_offline_check(check, store)

    assert check.num_frames <= 2 * 4 * len(found.errors)
    assert all(error.error == error.current_error for error in found.errors)
    assert all(error.num_frames for error in found.errors)
    assert found.jump_ratio == found.current_jump_ratio
    assert "error" not in check.failed
    assert store.manifest(check).metrics["jump_ratio"] == found.jump_ratio


def test_an_episode_that_was_trained_on_is_not_called_held_out(
    store: Store, check: OfflineCheck
) -> None:
    """Training draws from every episode of its dataset; the gate's reasons say so."""
    found = read_offline_check(check, store)

    assert found.num_episodes_seen == found.num_episodes
    assert check.seen_in_training
    decision = judge(None, None, GateConfig(required_checks=()), offline=check, store=store)
    assert decision.verdict == "candidate"
    assert any("trained on" in reason for reason in decision.reasons)


def test_a_failed_check_keeps_a_policy_back(store: Store, check: OfflineCheck) -> None:
    """Whatever the rule; a check that is not required is only reported."""
    failing = check.model_copy(update={"failed": ("range",), "warnings": ("It is outside.",)})

    kept = judge(None, None, GateConfig(rule="always"), offline=failing, store=store)
    config = GateConfig(rule="always", required_checks=("finite",))
    promoted = judge(None, None, config, offline=failing, store=store)

    assert kept.verdict == "kept"
    assert kept.reasons[0] == "The new policy failed range of its offline checks."
    assert promoted.verdict == "promoted"
    assert "It is outside." in promoted.reasons
