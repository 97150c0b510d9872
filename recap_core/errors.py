"""Every exception that is raised on purpose.

    RecapError
    ├── ConfigError                 unknown key, value out of range, settings that contradict
    ├── DataError
    │   ├── ColumnError             missing or wrong column, shape, dtype, NaN, value out of range
    │   └── EpisodeError            raw episode incomplete, or video and rows disagree
    ├── ArtifactError
    │   ├── ArtifactNotFoundError   no artifact of that id, name or reference
    │   ├── CorruptArtifactError    content differs from its manifest
    │   ├── IncompatibleError       inputs that do not belong together
    │   ├── StageLockedError        another live process holds the stage key for too long
    │   └── RefMovedError           a ref was moved after somebody had looked at it
    ├── CheckpointError             missing, extra or misshapen leaves; unknown layout
    ├── TrainingError               loss is not finite, nothing to train
    ├── UnhealthyValueModelError    labels would rest on a value model that cannot rank frames
    ├── StageProcessError           a stage's process ended, and no result or error was told
    │   └── StageTimeoutError       it was ended, because its time was over
    ├── RobotError
    │   └── RenderingError          no GL context for cameras
    ├── RemoteStageError            another machine was given a stage and did not make its result
    │   └── WorkerLostError         its process or the machine is gone; worth a second attempt
    ├── ServerError                 the orchestration or policy server cannot be reached or started
    └── HubError                    the Hugging Face hub cannot be reached, or refuses an upload

A message names the thing, the value, the rule and the next step. The command line prints it on one
line, without a traceback.
"""


class RecapError(Exception):
    """Base of every error that is raised on purpose."""

    exit_code = 1


class ConfigError(RecapError):
    """A setting is unknown, out of range, or contradicts another one."""

    exit_code = 2


class DataError(RecapError):
    """A recording or a dataset breaks a rule."""


class ColumnError(DataError):
    """A column is missing, has the wrong shape or type, or holds a value outside its range."""


class EpisodeError(DataError):
    """A raw episode is incomplete, or its parts disagree."""


class ArtifactError(RecapError):
    """An artifact cannot be found, read, trusted or published."""


class ArtifactNotFoundError(ArtifactError):
    """No artifact has that id, name or reference."""


class CorruptArtifactError(ArtifactError):
    """The content of an artifact differs from its manifest."""


class IncompatibleError(ArtifactError):
    """Two inputs of a stage do not belong together."""


class StageLockedError(ArtifactError):
    """Another live process works on the same stage key."""


class RefMovedError(ArtifactError):
    """A ref points elsewhere than whoever wanted to move it had seen."""


class CheckpointError(RecapError):
    """A checkpoint lacks leaves, has others, or has other shapes than the model."""


class TrainingError(RecapError):
    """Training cannot start or go on."""


class UnhealthyValueModelError(RecapError):
    """The value model does not rank frames well enough to label with it."""


class StageProcessError(RecapError):
    """The process of a stage ended without a word: killed from outside, or crashed."""


class StageTimeoutError(StageProcessError):
    """The process of a stage was ended because its time was over."""


class RobotError(RecapError):
    """A robot, a teleoperator or a simulator does not do what it should."""


class RenderingError(RobotError):
    """No GL context can be made, so cameras cannot be rendered."""


class RemoteStageError(RecapError):
    """A stage that was handed to another machine left no result."""


class WorkerLostError(RemoteStageError, ConnectionError):
    """The process or the machine that had the stage is gone. An ``OSError``: it may work again."""


class ServerError(RecapError):
    """A server cannot be reached or started."""


class HubError(RecapError):
    """The Hugging Face hub cannot be reached, or refuses what it is asked for."""
