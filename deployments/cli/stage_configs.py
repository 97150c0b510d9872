"""The settings class of every stage that has one, to write defaults out."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from recap_core.config.base import Config
from recap_core.config.collection import CollectConfig
from recap_core.config.dataset import ConvertConfig, MergeConfig, NormStatsConfig
from recap_core.config.evaluation import EvaluationConfig
from recap_core.config.labels import LabelConfig
from recap_core.config.stages import (
    InferValuesConfig,
    ReportConfig,
    TrainPolicyConfig,
    TrainValueConfig,
)

_CONFIGS: Mapping[str, type[Config]] = {
    "collect": CollectConfig,
    "convert": ConvertConfig,
    "merge": MergeConfig,
    "norm_stats": NormStatsConfig,
    "train_policy": TrainPolicyConfig,
    "train_value": TrainValueConfig,
    "infer_values": InferValuesConfig,
    "label": LabelConfig,
    "evaluate": EvaluationConfig,
    "report": ReportConfig,
}


def with_defaults(stage: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a stage with every default; as given, if this version reads them otherwise."""
    config = _CONFIGS.get(stage)
    try:
        return config.model_validate(settings).model_dump(mode="json") if config else settings
    except ValidationError:
        return settings
