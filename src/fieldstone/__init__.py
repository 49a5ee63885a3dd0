"""Fieldstone: launch and run a decentralized physical infrastructure network that anyone can recompute."""

__version__ = "0.1.0"
