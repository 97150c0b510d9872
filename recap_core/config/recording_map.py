"""Which raw arrays make state and action: the columns of any robot's recordings, as data.

An episode directory of every robot carries ``timestamps.npy``, ``metadata.json`` with a
``task_instruction``, and ``SUCCESS`` where it succeeded; ``phase.npy``, ``interventions.npy`` and
``correction_index.npy`` are optional. The map says the rest. Its default is the reference
collector's layout (SPEC §2.4). A single arm may be

    robot_type: so101
    state: [{file: arm_states.npz, array: joint_pos}, {file: arm_states.npz, array: gripper}]
    action: [{file: arm_actions.npz, array: pos, held: [5]}]
    cameras: {front: webcam.mp4}
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator, model_validator

from recap_core.config.base import Config

ARM = "{arm}"
INDEX = "{i}"
PLAIN_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""Names of arms and cameras become file names, so they hold no path."""

type PlainName = Annotated[str, StringConstraints(pattern=PLAIN_NAME)]
type Dims = tuple[Annotated[int, Field(ge=0)], ...]


def _inside(file: str) -> str:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or "\\" in file or not path.name:
        raise ValueError("must be a path inside the episode directory")
    return file


class ArrayPart(Config):
    """Columns of one raw array, one row per control tick."""

    file: str
    """``.npy`` or ``.npz`` file inside the episode directory; ``{arm}`` stands for every arm."""
    array: str | None = None
    """Which array of an ``.npz`` file."""
    dims: Dims | None = Field(default=None, min_length=1)
    """Its columns, in this order; None takes all."""
    names: tuple[str, ...] = ()
    """One name per dimension, or one for all that holds ``{i}``; ``{arm}`` stands for the arm."""
    held: Dims = ()
    """Dimensions of this part (grippers) that resampling holds instead of interpolating."""

    @field_validator("file")
    @classmethod
    def _stays_inside(cls, file: str) -> str:
        return _inside(file)

    @model_validator(mode="after")
    def _array_of_an_archive(self) -> "ArrayPart":
        suffix = PurePosixPath(self.file).suffix
        if suffix not in {".npy", ".npz"}:
            raise ValueError(f"{self.file} is neither .npy nor .npz")
        if (self.array is not None) != (suffix == ".npz"):
            raise ValueError(f"{self.file}: 'array' is for .npz files, and they need it")
        return self

    @property
    def is_per_arm(self) -> bool:
        """Whether there is one such part for every arm."""
        return ARM in self.file

    def of_arm(self, arm: str) -> "ArrayPart":
        """The part of one arm."""
        names = tuple(name.replace(ARM, arm) for name in self.names)
        return self.model_copy(update={"file": self.file.replace(ARM, arm), "names": names})

    def dimension_names(self, num_dims: int) -> tuple[str, ...]:
        """Names of the part's ``num_dims`` dimensions; as many as are configured."""
        if self.names and not (len(self.names) == 1 and INDEX in self.names[0]):
            return self.names
        parts = (PurePosixPath(self.file).stem, self.array, INDEX)
        pattern = self.names[0] if self.names else "_".join(part for part in parts if part)
        return tuple(pattern.replace(INDEX, str(i)) for i in range(num_dims))


REFERENCE_STATE = (
    ArrayPart(file="{arm}_states.npz", array="joint_pos", names=("{arm}_joint_{i}",)),
    ArrayPart(file="{arm}_states.npz", array="gripper_pos", names=("{arm}_gripper_{i}",)),
)
REFERENCE_ACTION = (ArrayPart(file="{arm}_actions.npz", array="pos", held=(6,)),)


class RecordingMap(Config):
    """How a robot's raw episodes are laid out."""

    robot_type: str | None = None
    """Kept in the dataset's ``info.json``."""
    state: tuple[ArrayPart, ...] = Field(default=REFERENCE_STATE, min_length=1)
    """Parts of ``observation.state``: those per arm, arm by arm, then the others."""
    action: tuple[ArrayPart, ...] = Field(default=REFERENCE_ACTION, min_length=1)
    """Parts of ``action``, likewise. Without names they are called like the state."""
    cameras: dict[PlainName, str] | None = None
    """Video file by camera name; None: ``<camera>.mp4`` for each camera of ``metadata.json``.

    ``<video>_timestamps.npy`` beside a video gives the time of every frame; without it, frame i
    belongs to row i.
    """

    @field_validator("cameras")
    @classmethod
    def _stay_inside(cls, cameras: dict[str, str] | None) -> dict[str, str] | None:
        for file in (cameras or {}).values():
            _inside(file)
        return cameras

    @property
    def is_per_arm(self) -> bool:
        """Whether anything depends on the arms that ``metadata.json`` lists."""
        return any(part.is_per_arm for part in (*self.state, *self.action))


def parts_of_arms(parts: Sequence[ArrayPart], arms: Sequence[str]) -> list[ArrayPart]:
    """Every part of every arm, arm by arm, then the parts that are not per arm."""
    per_arm = [part.of_arm(arm) for arm in arms for part in parts if part.is_per_arm]
    return per_arm + [part for part in parts if not part.is_per_arm]
