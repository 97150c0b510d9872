"""The robot's PC has neither JAX, torch, Prefect nor pyarrow: everything it needs runs without."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
SCRIPT = """
import importlib.abc, pkgutil, sys

REFUSED = {"jax", "flax", "optax", "orbax", "torch", "lerobot", "prefect", "pyarrow",
           "transformers", "datasets", "huggingface_hub", "sentencepiece", "fastapi", "sqlalchemy",
           "dm_control", "imageio", "scipy"}

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ImportError(f"{name} is not on the robot's PC")

sys.meta_path.insert(0, Refuse())

import recap_core.collection, recap_core.rollout, recap_core.sim
for package in (recap_core.collection, recap_core.rollout, recap_core.sim):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name != "recap_core.collection.lerobot_robot":  # real robots' drivers
            importlib.import_module(module.name)
importlib.import_module("recap_core.serving.client")
importlib.import_module("recap_core.serving.live_policy")
for name in ("main", "collect_command", "collect_session", "collect_summary", "collect_checks"):
    importlib.import_module(f"deployments.cli.{name}")

from recap_core.collection.robots.check import check_robot
from recap_core.collection.robots.opening import open_robot, scripted_policy
from recap_core.config.live_robot import LerobotConfig, ScriptedPolicyConfig, SimLiveConfig
from recap_core.config.robot import SimRobotConfig

robot, leader = open_robot(SimLiveConfig(robot=SimRobotConfig(cameras=())))
policy = scripted_policy(robot, ScriptedPolicyConfig())
robot.connect()
for _ in range(10):
    robot.send_action({"action": policy.action(robot.get_observation()).action})
    robot.send_action(leader.get_action())
print("frames", robot.simulated.frame)
robot.disconnect()
(finding,) = check_robot(LerobotConfig(kind="lerobot", type="so101_follower"))
print(finding.problem)
"""


def test_the_robot_side_runs_without_the_accelerator_stack() -> None:
    """All its modules and the command line are imported; the simulator makes twenty frames.

    A real robot then says that lerobot is missing, and how to install it.
    """
    result = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    frames, problem = result.stdout.splitlines()
    assert frames == "frames 20"
    assert "lerobot is not on the robot's PC" in problem
    assert "pip install 'lerobot[feetech]'" in problem


def test_the_lock_file_of_the_robot_side_holds_none_of_it() -> None:
    """Nor do the packages that only gym-aloha's environment class needs."""
    lock = (ROOT / "requirements-robot.lock").read_text()
    locked = {line.partition("==")[0] for line in lock.splitlines() if "==" in line}
    assert {"mujoco", "gym-aloha", "websockets", "av", "typer"} <= locked
    assert not locked & {"jax", "torch", "lerobot", "prefect", "pyarrow", "dm-control", "imageio"}
