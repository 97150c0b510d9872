"""Which dims of state and action belong to which arm, told from their names."""

from collections.abc import Sequence

from recap_core.rollout.live import ArmLayout

SIDES = ("left", "right")
ONLY_ARM = "arm"
"""What an arm without a side is called."""
GRIPPER = "gripper"
"""Whatever has this in its name is a gripper."""


def infer_arms(names: Sequence[str], sides: Sequence[str] = SIDES) -> tuple[ArmLayout, ...]:
    """Arms from the names of the action's dims.

    Args:
        names: One per dim.
        sides: Names of arms; one that begins the names of some dims is an arm.

    Returns:
        One arm per side, in the order of their dims, where every dim has a side; else one arm
        with all dims, called ``arm``.
    """
    owners = [next((side for side in sides if name.startswith(f"{side}_")), None) for name in names]
    if None in owners or not owners:
        return (_layout(ONLY_ARM, names, range(len(names))),)
    found = dict.fromkeys(owner for owner in owners if owner is not None)
    return tuple(
        _layout(side, names, [dim for dim, owner in enumerate(owners) if owner == side])
        for side in found
    )


def leaders_of(arms: Sequence[ArmLayout]) -> tuple[ArmLayout, ...]:
    """Leader arms laid out like ``arms``: ``leader_left``, ..., or ``leader`` for the only arm."""
    if len(arms) == 1 and arms[0].name == ONLY_ARM:
        return (arms[0]._replace(name="leader"),)
    return tuple(arm._replace(name=f"leader_{arm.name}") for arm in arms)


def _layout(name: str, names: Sequence[str], dims: Sequence[int]) -> ArmLayout:
    gripper = tuple(dim for dim in dims if GRIPPER in names[dim])
    return ArmLayout(name, tuple(dim for dim in dims if dim not in gripper), gripper)
