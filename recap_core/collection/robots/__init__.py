"""Robots in real time: the simulator, replayed recordings, made-up ones, and lerobot's."""
