"""The tests; a package, because draccus (of lerobot) installs another one called tests."""
