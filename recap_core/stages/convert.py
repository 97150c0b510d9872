"""Stage 1: raw episodes to a LeRobot dataset with the five RECAP columns."""

import logging
from pathlib import Path

from recap_core.config.dataset import ConvertConfig, ConvertRuntime
from recap_core.config.validation import ValidateConfig
from recap_core.errors import ConfigError, DataError
from recap_core.lineage.artifacts import Annotations, Dataset, Recording
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress, Silent
from recap_core.stages.annotate import read_corrections
from recap_core.stages.registry import CONVERT

logger = logging.getLogger(__name__)


def convert_recording(  # noqa: PLR0913 - all but the first two by name
    recording: Recording,
    config: ConvertConfig,
    *,
    annotations: Annotations | None = None,
    name: str,
    store: Store,
    runtime: ConvertRuntime | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Convert a recording to LeRobot v3.0 with the five RECAP columns.

    Annotated episodes are left out, or get their corrected outcome. The dataset is checked before
    it is published, so that what is merged later is valid; warnings are logged.

    Raises:
        DataError: If an episode breaks a rule of the raw format, or the dataset would not be valid;
            nothing is published.
        ConfigError: If demonstrations are converted as rollouts, or rollouts as demonstrations.
    """
    if config.demonstrations != (recording.mode == "demonstration"):
        raise ConfigError(
            f"recording {recording.name} holds {recording.mode} episodes and "
            f"convert.demonstrations is {config.demonstrations}: set it to "
            f"{not config.demonstrations}"
        )

    def build(area: Build) -> Built:
        from recap_core.data.convert import convert_recording as convert
        from recap_core.data.overview import read_overview

        corrections = {} if annotations is None else read_corrections(annotations, store)
        own = {key.episode: c for key, c in corrections.items() if key.source == recording.id}
        summary = convert(
            store.path(recording),
            area.output,
            config,
            round_index=recording.round_index,
            source=recording.id,
            progress=progress or Silent(),
            outcomes={name: c.outcome == "success" for name, c in own.items() if c.outcome},
            excluded={name for name, c in own.items() if c.excluded},
            max_workers=(runtime or ConvertRuntime()).max_workers,
        )
        _require_valid(area.output, recording, store)
        overview = read_overview(area.output)
        shares = {
            "success_share": overview.success_share,
            "intervention_share": overview.intervention_share,
        }
        return Built(summary._asdict(), shares)

    inputs = {"recording": recording, "annotations": annotations}
    return store.produce(CONVERT, config, inputs, name=name, build=build)


def _require_valid(dataset: Path, recording: Recording, store: Store) -> None:
    """Raise DataError for the first error of a new dataset, and log its warnings.

    No image is decoded. What is wrong lies in the recording, so that is what the message names.
    """
    from recap_core.data.validate import validate_dataset

    findings = validate_dataset(dataset, ValidateConfig(decode="none"))
    errors = [finding for finding in findings if finding.severity == "error"]
    name = f"{recording.name}-{recording.id[:8]}"
    if errors:
        first = errors[0]
        more = f" (the first of {len(errors)} errors)" if len(errors) > 1 else ""
        raise DataError(
            f"recording {name} makes no valid dataset: {first.where}: {first.value}, but "
            f"{first.rule}{more}. Exclude the episode with an annotation, or record it again; "
            f"'recap doctor data {store.path(recording)}' lists everything."
        )
    for finding in findings:
        if finding.severity == "warning":
            logger.warning("%s: %s: %s; %s", name, finding.where, finding.value, finding.rule)
