"""The simulated robot, its scripted expert and its supervisor."""
