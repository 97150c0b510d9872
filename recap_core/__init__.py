"""RECAP without an orchestrator: data, labels, models, training, lineage."""
