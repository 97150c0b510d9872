"""LeRobot datasets with the five RECAP columns."""
