"""The files of a lerobot pi0.5 policy beside its weights: settings, and norm stats.

config.json                                  lerobot's PI05Config
policy_preprocessor.json                     steps from observation to model input
policy_preprocessor_step_3_*.safetensors     statistics of state and action
policy_postprocessor.json, ..._step_0_*      steps from model output to actions, and the same
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recap_core.checkpoints.policy_checkpoint import read_text
from recap_core.checkpoints.safetensors_files import Described, read_tensors, write_tensors
from recap_core.config.policy import GemmaConfig, PolicyConfig
from recap_core.config.sizes import GEMMA_2B, GEMMA_300M
from recap_core.errors import CheckpointError, ConfigError, IncompatibleError
from recap_core.transforms.delta import delta_mask
from recap_core.transforms.normalize import FeatureStats, NormStats

_log = logging.getLogger(__name__)

CONFIG = "config.json"
_PREPROCESSOR = "policy_preprocessor"
_POSTPROCESSOR = "policy_postprocessor"
_FEATURES = {"state": "observation.state", "actions": "action"}
"""Our name of a feature to lerobot's."""
_MODES = {"quantile": "QUANTILES", "z_score": "MEAN_STD"}
_EPSILON = 1e-8
_VARIANTS = {"gemma_2b": GEMMA_2B, "gemma_300m": GEMMA_300M}


def is_lerobot_policy(directory: Path) -> bool:
    """Whether a directory looks like what lerobot's ``save_pretrained`` writes."""
    return (directory / CONFIG).is_file() and any(directory.glob("model*.safetensors*"))


def check_exchangeable(policy: PolicyConfig) -> None:
    """Raise ConfigError unless a policy is one that lerobot's pi0.5 can be."""
    model = policy.model
    problems = {
        "model.time_input must be 'adarms' (pi0.5)": model.time_input != "adarms",
        "model.state_input must be 'tokens'": model.state_input != "tokens",
        "the experts must have no LoRA": bool(model.vlm.lora or model.expert.lora),
        "embodiment.state must be observation.state alone": policy.embodiment.state
        != (_FEATURES["state"],),
    }
    found = [problem for problem, is_there in problems.items() if is_there]
    if found:
        raise ConfigError(f"lerobot's pi0.5 cannot be this policy: {'; '.join(found)}.")


def check_lerobot_config(directory: Path, policy: PolicyConfig) -> None:
    """Compare ``config.json`` with the configuration that the policy is imported under.

    Differences that a training may well make (horizon, token length, names of cameras) are logged.

    Raises:
        CheckpointError: If it is missing, or of another kind of policy.
        IncompatibleError: If state or actions are normalised or made relative in another way, or
            the same cameras come in another order.
    """
    settings = _read_json(directory / CONFIG)
    if settings.get("type") != "pi05":
        raise CheckpointError(
            f"{directory / CONFIG} is of a lerobot policy {settings.get('type')!r}; only 'pi05' "
            "can be imported."
        )
    wanted = _MODES[policy.embodiment.normalization]
    modes = settings.get("normalization_mapping") or {}
    wrong = {kind: modes[kind] for kind in ("STATE", "ACTION") if modes.get(kind, wanted) != wanted}
    if wrong:
        raise IncompatibleError(
            f"{directory} normalises {wrong}, the configuration says "
            f"{policy.embodiment.normalization!r}. Set embodiment.normalization."
        )
    is_relative = bool(settings.get("use_relative_actions"))
    if is_relative != bool(policy.embodiment.delta_mask):
        raise IncompatibleError(
            f"{directory} has use_relative_actions {is_relative}, the configuration the "
            f"delta_mask {policy.embodiment.delta_mask}. Set embodiment.delta_mask."
        )
    _check_cameras(settings, policy, directory)
    sizes = {
        "chunk_size": ("action_horizon", policy.model.action_horizon),
        "tokenizer_max_length": ("max_token_len", policy.model.max_token_len),
    }
    for theirs, (ours, value) in sizes.items():
        if settings.get(theirs, value) != value:
            _log.warning(
                "%s was trained with %s %s; the configuration has model.%s %s",
                directory, theirs, settings[theirs], ours, value,
            )  # fmt: skip


def read_lerobot_norm_stats(directory: Path) -> NormStats | None:
    """Statistics of state and actions; None if the policy brings none, as base policies do.

    Raises:
        CheckpointError: If they are incomplete or damaged.
    """
    path = directory / f"{_PREPROCESSOR}.json"
    if not path.is_file():
        return None
    steps = _read_json(path).get("steps") or []
    files = [
        step["state_file"]
        for step in steps
        if step.get("registry_name") == "normalizer_processor" and step.get("state_file")
    ]
    if not files:
        return None
    if Path(files[0]).name != files[0]:
        raise CheckpointError(f"{path} names the file {files[0]!r}, which is not beside it")
    tensors = read_tensors(directory / files[0])
    stats: dict[str, FeatureStats] = {}
    for ours, theirs in _FEATURES.items():
        fields = {
            field: np.asarray(tensors[f"{theirs}.{field}"].read(), np.float64).reshape(-1)
            for field in FeatureStats._fields
            if f"{theirs}.{field}" in tensors
        }
        if not fields:
            return None
        if not {"mean", "std"} <= fields.keys():
            raise CheckpointError(
                f"{directory / files[0]} has {sorted(fields)} of {theirs}, but no mean and std. "
                "Pass norm stats of your own."
            )
        stats[ours] = FeatureStats(**fields)
    return NormStats(stats)


def write_lerobot_settings(
    directory: Path, policy: PolicyConfig, norm_stats: NormStats, *, dtype: str
) -> None:
    """Write everything but the weights.

    Args:
        directory: Existing directory.
        policy: Configuration of a pi0.5 without LoRA.
        norm_stats: Of its robot.
        dtype: ``float32`` or ``bfloat16``: what lerobot computes in.
    """
    if policy.prompt.advantage:
        _log.warning(
            "lerobot's prompt has no advantage clause: there the policy is asked without it"
        )
    features = _features(policy, norm_stats)
    _write_json(directory / CONFIG, _config(policy, norm_stats, features, dtype=dtype))
    mode = _MODES[policy.embodiment.normalization]
    norm = {
        "eps": _EPSILON,
        "norm_map": {"VISUAL": "IDENTITY", "STATE": mode, "ACTION": mode},
    }
    relative = _relative_actions(policy, norm_stats)
    device = ("device_processor", {"device": "cpu", "float_dtype": None})
    before = [
        ("rename_observations_processor", {"rename_map": {}}),
        ("to_batch_processor", {}),
        ("relative_actions_processor", relative),
        ("normalizer_processor", norm | {"features": features}),
        ("pi05_prepare_state_tokenizer_processor_step", {}),
        ("tokenizer_processor", _tokenizer(policy)),
        device,
    ]
    after = [
        ("unnormalizer_processor", norm | {"features": {"action": features["action"]}}),
        ("absolute_actions_processor", {"enabled": relative["enabled"]}),
        device,
    ]
    for name, steps in ((_PREPROCESSOR, before), (_POSTPROCESSOR, after)):
        _write_pipeline(directory, name, steps, norm_stats)


def _check_cameras(settings: Mapping[str, Any], policy: PolicyConfig, directory: Path) -> None:
    theirs = [
        name
        for name, feature in (settings.get("input_features") or {}).items()
        if feature.get("type") == "VISUAL" and ".empty_camera_" not in name
    ]
    ours = _cameras(policy)
    if not theirs or theirs == ours:
        return
    if sorted(theirs) == sorted(ours):
        raise IncompatibleError(
            f"{directory} reads its cameras in the order {theirs}, the configuration in {ours}. "
            "Assign them to embodiment.views in that order."
        )
    _log.warning("%s reads the cameras %s, the configuration %s", directory, theirs, ours)


def _cameras(policy: PolicyConfig) -> list[str]:
    """Camera features in token order; a view without one keeps its own name."""
    views = policy.embodiment.views
    return [views.get(view, f"observation.images.{view}") for view in policy.model.views]


def _features(policy: PolicyConfig, norm_stats: NormStats) -> dict[str, Any]:
    px = policy.model.image_px
    features: dict[str, Any] = {
        name: {"type": "VISUAL", "shape": [3, px, px]} for name in _cameras(policy)
    }
    for ours, kind in (("state", "STATE"), ("actions", "ACTION")):
        dims = len(norm_stats.feature(ours).mean)
        features[_FEATURES[ours]] = {"type": kind, "shape": [dims]}
    return features


def _config(
    policy: PolicyConfig, norm_stats: NormStats, features: Mapping[str, Any], *, dtype: str
) -> dict[str, Any]:
    model = policy.model
    relative = _relative_actions(policy, norm_stats)
    mode = _MODES[policy.embodiment.normalization]
    return {
        "type": "pi05",
        "input_features": {k: v for k, v in features.items() if v["type"] != "ACTION"},
        "output_features": {k: v for k, v in features.items() if v["type"] == "ACTION"},
        "paligemma_variant": _variant(model.vlm, "gemma_2b"),
        "action_expert_variant": _variant(model.expert, "gemma_300m"),
        "dtype": dtype,
        "chunk_size": model.action_horizon,
        "n_action_steps": model.action_horizon,
        "max_state_dim": model.state_dim or model.action_dim,
        "max_action_dim": model.action_dim,
        "num_inference_steps": policy.num_denoise_steps,
        "use_relative_actions": relative["enabled"],
        "relative_exclude_joints": relative["exclude_joints"],
        "action_feature_names": relative["action_names"],
        "image_resolution": [model.image_px, model.image_px],
        "tokenizer_max_length": model.max_token_len,
        "normalization_mapping": {"VISUAL": "IDENTITY", "STATE": mode, "ACTION": mode},
    }


def _relative_actions(policy: PolicyConfig, norm_stats: NormStats) -> dict[str, Any]:
    """How lerobot is told which dims are relative: a part of an absolute dim's name."""
    run_lengths = policy.embodiment.delta_mask
    if not run_lengths:
        return {"enabled": False, "exclude_joints": ["gripper"], "action_names": None}
    num_dims = len(norm_stats.feature("actions").mean)
    is_relative = delta_mask(run_lengths).tolist()[:num_dims]
    is_relative += [False] * (num_dims - len(is_relative))
    names = [f"{'relative' if flag else 'absolute'}_{i}" for i, flag in enumerate(is_relative)]
    return {"enabled": True, "exclude_joints": ["absolute"], "action_names": names}


def _tokenizer(policy: PolicyConfig) -> dict[str, Any]:
    return {
        "max_length": policy.model.max_token_len,
        "task_key": "task",
        "padding_side": "right",
        "padding": "max_length",
        "truncation": True,
        "tokenizer_name": "google/paligemma-3b-pt-224",
    }


def _variant(config: GemmaConfig, fallback: str) -> str:
    for name, known in _VARIANTS.items():
        if config.model_copy(update={"lora": None}) == known:
            return name
    _log.warning("lerobot has no name for an expert of width %d; %s is written",
                 config.width, fallback)  # fmt: skip
    return fallback


def _write_pipeline(
    directory: Path, name: str, steps: list[tuple[str, dict[str, Any]]], norm_stats: NormStats
) -> None:
    written = []
    for index, (step, settings) in enumerate(steps):
        entry: dict[str, Any] = {"registry_name": step, "config": settings}
        if "normalizer" in step:
            entry["state_file"] = f"{name}_step_{index}_{step}.safetensors"
            write_tensors(directory / entry["state_file"], _statistics(norm_stats))
        written.append(entry)
    _write_json(directory / f"{name}.json", {"name": name, "steps": written})


def _statistics(norm_stats: NormStats) -> dict[str, Described]:
    """The statistics as float32 tensors, which is what lerobot keeps."""
    return {
        f"{theirs}.{field}": _described(np.asarray(values, np.float32))
        for ours, theirs in _FEATURES.items()
        for field, values in norm_stats.feature(ours)._asdict().items()
        if values is not None
    }


def _described(array: np.ndarray) -> Described:
    return Described(array.shape, array.dtype, lambda: array)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise CheckpointError(f"{path} is no JSON: {error}. Download it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no settings but a {type(content).__name__}")
    return content


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
