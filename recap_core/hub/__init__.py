"""Datasets, policies and value models on the Hugging Face hub, with cards made from their lineage.

Nothing here is a stage: what is uploaded is an artifact as it is, a card, and its manifest without
what says where it was made.
"""
