"""Whether a dataset or a recording is fit to train on: every finding, not only the first."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from recap_core.config.recording_map import RecordingMap
from recap_core.config.validation import ValidateConfig
from recap_core.data.checks import recording as raw_checks
from recap_core.data.checks.columns import NumberCheck, RecapColumnCheck
from recap_core.data.checks.episode import Episode, EpisodeCheck
from recap_core.data.checks.episodes import DuplicateCheck, LengthCheck
from recap_core.data.checks.files import check_files
from recap_core.data.checks.finding import Finding, Findings, from_error
from recap_core.data.checks.index import IndexCheck
from recap_core.data.checks.metadata import (
    check_episode_statistics,
    check_episode_table,
    check_statistics,
    check_totals,
)
from recap_core.data.checks.motion import MotionCheck
from recap_core.data.checks.pictures import check_pictures
from recap_core.data.checks.prompts import check_prompts
from recap_core.data.checks.rows import episodes
from recap_core.data.checks.sanity import SanityCheck
from recap_core.data.checks.schema import check_features
from recap_core.data.checks.videos import check_video, video_spans
from recap_core.data.columns import ACTION, STATE
from recap_core.data.layout import DatasetMeta, read_meta
from recap_core.data.raw_episode import episode_directories
from recap_core.errors import ConfigError, DataError
from recap_core.progress import Progress, Silent


def validate_dataset(
    root: Path, config: ValidateConfig | None = None, *, progress: Progress | None = None
) -> list[Finding]:
    """Check a v3.0 dataset; broken parts are findings, and the rest is still checked.

    Memory does not grow with the length of the dataset: one episode's rows and one image at a time.

    Args:
        root: Directory of the dataset; only read.
        config: What to decode, and what counts as healthy.
        progress: Who watches.

    Returns:
        What was found, errors first; empty if all is well.

    Raises:
        DataError: If there is no such directory.
    """
    config = config or ValidateConfig()
    _require_directory(root)
    findings = Findings()
    _add(findings, check_files(root))
    try:
        meta = read_meta(root)
    except DataError as error:
        findings.add(from_error(error, check="metadata"))
        return findings.sorted()
    for found in (
        check_features(meta),
        check_prompts(meta.tasks),
        check_totals(meta),
        check_episode_table(meta),
        check_statistics(meta),
        check_episode_statistics(meta),
    ):
        _add(findings, found)
    watch = progress or Silent()
    checks = [IndexCheck(meta), NumberCheck(), RecapColumnCheck(), *_shared_checks(config, meta)]
    with watch.bar("check rows", meta.num_episodes) as bar:
        for number, episode in enumerate(episodes(meta, findings.add)):
            _look(checks, episode, findings)
            bar.update(number + 1)
    _finish(checks, findings)
    _check_videos(meta, config, findings, watch)
    return findings.sorted()


def validate_recording(
    recording: Path,
    config: ValidateConfig | None = None,
    *,
    robot: RecordingMap | None = None,
    progress: Progress | None = None,
) -> list[Finding]:
    """Check a recording session of raw episodes (SPEC §2.4); the videos' packets are counted.

    Args:
        recording: Directory of raw episodes; only read.
        config: What counts as healthy.
        robot: Which arrays are state and action; None: the reference collector's layout.
        progress: Who watches.

    Returns:
        What was found, errors first; empty if all is well.

    Raises:
        DataError: If there is no such directory.
    """
    config = config or ValidateConfig()
    _require_directory(recording)
    findings = Findings()
    try:
        paths = episode_directories(recording)
    except DataError as error:
        findings.add(from_error(error, check="recording"))
        return findings.sorted()
    _add(findings, raw_checks.check_unfinished(recording))
    checks, tasks = _shared_checks(config, None), {}
    with (progress or Silent()).bar("check episodes", len(paths)) as bar:
        for number, path in enumerate(paths):
            raw, problems = raw_checks.read_for_checks(path, robot)
            _add(findings, problems)
            if raw is not None:
                tasks.setdefault(raw.task)
                _add(findings, raw_checks.check_raw_episode(path, raw, config))
                if len(raw.timestamps):
                    _look(checks, raw_checks.as_episode(raw), findings)
            bar.update(number + 1, path.name)
    _finish(checks, findings)
    _add(findings, check_prompts(list(tasks)))
    return findings.sorted()


def validate(
    root: Path,
    config: ValidateConfig | None = None,
    *,
    robot: RecordingMap | None = None,
    progress: Progress | None = None,
) -> list[Finding]:
    """Check a dataset or a recording, whichever the directory holds; ``robot`` is a recording's.

    Raises:
        DataError: If there is no such directory.
        ConfigError: If a robot map comes with a dataset.
    """
    if not (root / "meta").exists() and any(root.glob("episode_*")):
        return validate_recording(root, config, robot=robot, progress=progress)
    if robot is not None:
        raise ConfigError(
            f"a robot map says how a recording is read, but {root} holds no raw episodes. "
            "Leave the map out, or name the session."
        )
    return validate_dataset(root, config, progress=progress)


def require_valid(root: Path, config: ValidateConfig | None = None) -> None:
    """Raise DataError if a check of a dataset or a recording finds an error.

    Args:
        root: A v3.0 dataset or a recording.
        config: What to check; by default no image is decoded.

    Raises:
        DataError: Names the first error and how many more there are.
    """
    findings = validate(root, config or ValidateConfig(decode="none"))
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        first = errors[0]
        more = f" (the first of {len(errors)} errors)" if len(errors) > 1 else ""
        raise DataError(
            f"{root} is not valid: {first.where}: {first.value}, but {first.rule}{more}. "
            f"{first.fix[:1].upper()}{first.fix[1:]}; "
            f"'recap doctor data {root}' lists everything."
        )


def _require_directory(root: Path) -> None:
    if not root.is_dir():
        raise DataError(f"there is no directory {root}. Check the path.")


def _shared_checks(config: ValidateConfig, meta: DatasetMeta | None) -> list[EpisodeCheck]:
    """What datasets and recordings are both checked for."""
    features = meta.features if meta else {}
    names = {name: features.get(name, {}).get("names") for name in (STATE, ACTION)}
    return [
        MotionCheck(config, names),
        DuplicateCheck(),
        LengthCheck(config),
        SanityCheck(config),
    ]


def _add(findings: Findings, found: Iterator[Finding] | Sequence[Finding]) -> None:
    for finding in found:
        findings.add(finding)


def _look(checks: Sequence[EpisodeCheck], episode: Episode, findings: Findings) -> None:
    for check in checks:
        for finding in check.look(episode):
            findings.add(finding)


def _finish(checks: Sequence[EpisodeCheck], findings: Findings) -> None:
    for check in checks:
        for finding in check.finish():
            findings.add(finding)


def _check_videos(
    meta: DatasetMeta, config: ValidateConfig, findings: Findings, progress: Progress
) -> None:
    try:
        files = video_spans(meta)
    except DataError:
        return  # check_episode_table says why
    with progress.bar("check videos", len(files)) as bar:
        for number, (key, spans) in enumerate(files.items()):
            problems = list(check_video(meta, key, spans))
            _add(findings, problems)
            if config.decode != "none" and not any(p.severity == "error" for p in problems):
                _add(findings, check_pictures(meta, key, spans, config))
            bar.update(number + 1)
