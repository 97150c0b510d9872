"""A policy checkpoint loaded and asked for actions."""

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from recap_core.checkpoints.policy_checkpoint import write_policy
from recap_core.config.policy import PolicyConfig
from recap_core.errors import CheckpointError, DataError
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy
from recap_core.serving.policy import LoadedPolicy, RequestDefaults
from tests.core.training import robot

CONFIG = robot.train_policy_config().policy


@pytest.fixture(scope="module")
def params() -> Params:
    """Random parameters."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(Policy(CONFIG.model).init, jax.random.key(0))
    return jax.tree.map(lambda leaf: 0.3 * rng.standard_normal(leaf.shape, np.float32), shapes)


@pytest.fixture(scope="module")
def checkpoint(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy directory."""
    return _write(tmp_path_factory.mktemp("policy"), params, CONFIG)


@pytest.fixture(scope="module")
def policy(checkpoint: Path) -> LoadedPolicy:
    """The policy in that directory, four observations per device call."""
    return LoadedPolicy.load(checkpoint, batch_size=4)


def _write(directory: Path, params: Params, config: PolicyConfig) -> Path:
    write_policy(directory, params, config, robot.norm_stats())
    return directory


def _observation(number: int = 0, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any feature
    return {
        "observation.state": np.linspace(0, number, 4).astype(np.float32),
        "prompt": "transfer cube",
        "episode_seed": 7,
        "frame_index": number,
    } | changes


def _num_programs(policy: LoadedPolicy) -> int:
    sample: Any = policy._sample
    return sample._cache_size()


def test_a_chunk_by_hand(policy: LoadedPolicy, params: Params) -> None:
    """The model's own sample for the observation's noise, mapped back: x * 2 + 0.5, 4 dims."""
    chunk = policy.infer([_observation(2)])[0]

    rng = np.random.Generator(np.random.Philox(key=np.array([7, 2], np.uint64)))
    noise = rng.standard_normal((1, 3, 5), dtype=np.float32)
    observation = {"observation.state": _observation(2)["observation.state"][None]}
    inputs = robot.policy_transform(CONFIG).inputs(observation, ["transfer cube"], ["positive"])
    sample = jax.jit(
        lambda params, inputs, noise: Policy(CONFIG.model).sample_actions(
            params, jax.random.key(0), inputs, num_steps=2, noise=noise
        )
    )(params, inputs, noise)
    assert chunk.shape == (3, 4)
    assert chunk.dtype == np.float32
    np.testing.assert_allclose(chunk, np.asarray(sample)[0, :, :4] * 2 + 0.5, atol=1e-4)


def test_actions_do_not_depend_on_the_rest_of_the_batch(policy: LoadedPolicy) -> None:
    """Alone, first of three or last of five (two device calls): the same bits."""
    alone = policy.infer([_observation(1)])[0]
    first = policy.infer([_observation(i) for i in (1, 2, 3)])[0]
    last = policy.infer([_observation(i) for i in (5, 4, 3, 2, 1)])[4]

    np.testing.assert_array_equal(first, alone)
    np.testing.assert_array_equal(last, alone)


def test_noise_depends_on_episode_and_frame(policy: LoadedPolicy) -> None:
    """The same observation at another frame or in another episode gets other actions."""
    base, frame, episode = policy.infer(
        [_observation(1), _observation(1, frame_index=9), _observation(1, episode_seed=8)]
    )

    assert not np.allclose(base, frame)
    assert not np.allclose(base, episode)


def test_an_observation_without_a_seed_is_random(policy: LoadedPolicy) -> None:
    """Real robots send no seed: every call draws anew."""
    observation = _observation()
    del observation["episode_seed"], observation["frame_index"]

    first, second = policy.infer([observation, observation])

    assert not np.allclose(first, second)


def test_given_noise_takes_the_place_of_drawn_noise(policy: LoadedPolicy) -> None:
    """The noise of frame i by hand gives the chunk of frame i, over two device calls."""
    observations = [_observation(i) for i in range(5)]
    noise = np.stack(
        [
            np.random.Generator(np.random.Philox(key=np.array([7, i], np.uint64))).standard_normal(
                (3, 5), dtype=np.float32
            )
            for i in range(5)
        ]
    )
    unseeded = [
        {key: x for key, x in each.items() if key not in {"episode_seed", "frame_index"}}
        for each in observations
    ]

    found, expected = policy.infer(unseeded, noise=noise), policy.infer(observations)

    np.testing.assert_array_equal(found, expected)
    with pytest.raises(DataError, match=r"noise has shape \(4, 3, 5\); \(5, 3, 5\) is needed"):
        policy.infer(unseeded, noise=noise[:4])


def test_the_default_condition_is_positive(policy: LoadedPolicy) -> None:
    """Without ``adv_ind`` the policy is asked for its best behaviour."""
    default, positive, negative = policy.infer(
        [_observation(1), _observation(1, adv_ind="positive"), _observation(1, adv_ind="negative")]
    )

    np.testing.assert_array_equal(default, positive)
    assert not np.allclose(default, negative)


def test_guidance_extrapolates_from_no_condition(checkpoint: Path, policy: LoadedPolicy) -> None:
    """Beta 1 is plain conditioning; another beta changes the actions."""
    guided = LoadedPolicy.load(checkpoint, batch_size=4, guidance=2.0)

    actions = guided.infer([_observation(1)])[0]

    assert np.all(np.isfinite(actions))
    assert not np.allclose(actions, policy.infer([_observation(1)])[0])


def test_a_missing_prompt_is_an_error(policy: LoadedPolicy) -> None:
    """The policy has no default prompt, so the observation must bring one."""
    observation = _observation()
    del observation["prompt"]

    with pytest.raises(DataError, match="no 'prompt'"):
        policy.infer([observation])


def test_a_missing_state_is_an_error(policy: LoadedPolicy) -> None:
    """One robot of two without a state is named before anything runs."""
    observation = _observation()
    del observation["observation.state"]

    with pytest.raises(DataError, match=r"observation\.state"):
        policy.infer([_observation(), observation])


def test_a_checkpoint_of_another_model_is_refused(params: Params, tmp_path: Path) -> None:
    """Parameters that do not fit the configuration beside them are named by path."""
    other = dict(params)
    other["lora_a"] = np.zeros(3, np.float32)
    path = _write(tmp_path, other, CONFIG)

    with pytest.raises(CheckpointError, match=r"1 extra \(lora_a\)"):
        LoadedPolicy.load(path)


def test_a_bfloat16_model_is_served_in_bfloat16(params: Params, tmp_path: Path) -> None:
    """Parameters are cast, actions stay float32 and close to those of float32."""
    model = CONFIG.model.model_copy(update={"compute_dtype": "bfloat16"})
    path = _write(tmp_path, params, CONFIG.model_copy(update={"model": model}))

    served = LoadedPolicy.load(path, batch_size=1)
    chunk = served.infer([_observation(1)])[0]

    assert {str(leaf.dtype) for leaf in jax.tree.leaves(served._params)} == {"bfloat16"}
    assert chunk.dtype == np.float32
    assert np.all(np.isfinite(chunk))


def test_a_warm_policy_compiles_nothing_more(checkpoint: Path) -> None:
    """One program answers whatever comes, guided or not; no seed is used up by warming."""
    for guidance in (1.0, 2.0):
        cold = LoadedPolicy.load(checkpoint, batch_size=2, guidance=guidance)
        warm = LoadedPolicy.load(checkpoint, batch_size=2, guidance=guidance)
        assert warm.warm_up() > 0
        assert _num_programs(warm) == 1

        for observations in ([_observation(1)], [_observation(2), _observation(3)]):
            warm.infer(observations)

        assert _num_programs(warm) == 1
        unseeded = {k: v for k, v in _observation(1).items() if "_" not in k}
        np.testing.assert_array_equal(warm.infer([unseeded])[0], cold.infer([unseeded])[0])


def test_defaults_fill_in_what_an_observation_lacks(checkpoint: Path, policy: LoadedPolicy) -> None:
    """The default prompt and condition of the server; the observation's own ones win."""
    defaults = RequestDefaults(prompt="lift cube", adv_ind="negative")
    served = LoadedPolicy.load(checkpoint, batch_size=4, defaults=defaults)
    bare = _observation(1)
    del bare["prompt"]

    filled, own = served.infer([bare, _observation(1, adv_ind="positive")])

    expected = policy.infer([_observation(1, prompt="lift cube", adv_ind="negative")])[0]
    np.testing.assert_array_equal(filled, expected)
    np.testing.assert_array_equal(own, policy.infer([_observation(1)])[0])


def test_the_condition_can_be_left_out(checkpoint: Path, policy: LoadedPolicy) -> None:
    """None is no clause at all, which is another text than the class ``none``."""
    served = LoadedPolicy.load(checkpoint, batch_size=4, defaults=RequestDefaults(adv_ind=None))

    omitted = served.infer([_observation(1)])[0]

    none, left_out = policy.infer([_observation(1, adv_ind=a) for a in ("none", None)])
    np.testing.assert_array_equal(omitted, left_out)
    assert not np.allclose(omitted, none)


def test_the_clients_prompt_wins_over_the_embodiments(params: Params, tmp_path: Path) -> None:
    """As with openpi, whose default prompt is for observations without one."""
    embodiment = CONFIG.embodiment.model_copy(update={"default_prompt": "lift cube"})
    path = _write(tmp_path, params, CONFIG.model_copy(update={"embodiment": embodiment}))
    served = LoadedPolicy.load(path, batch_size=4)
    bare = _observation(1)
    del bare["prompt"]

    default, same, other = served.infer(
        [bare, _observation(1, prompt="lift cube"), _observation(1, prompt="transfer cube")]
    )

    np.testing.assert_array_equal(default, same)
    assert not np.allclose(default, other)


def test_an_openpi_step_is_served_with_a_given_configuration(
    checkpoint: Path, policy: LoadedPolicy, tmp_path: Path
) -> None:
    """Only params/ and assets/ are there; the number of denoising steps can be chosen."""
    step = tmp_path / "19999"
    shutil.copytree(checkpoint, step)
    (step / "policy.json").unlink()

    same = LoadedPolicy.load(step, config=CONFIG, batch_size=4)
    finer = LoadedPolicy.load(step, config=CONFIG, batch_size=4, num_steps=5)

    expected = policy.infer([_observation(1)])[0]
    np.testing.assert_array_equal(same.infer([_observation(1)])[0], expected)
    assert not np.allclose(finer.infer([_observation(1)])[0], expected)
