"""A plugin whose library is not installed."""

raise ImportError("no module named 'motor_bus_of_this_robot'")
