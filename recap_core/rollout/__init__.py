"""The phase machine and the pure-step collection loop."""
