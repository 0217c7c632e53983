"""SDAR: an experiment toolkit for self-distilled agentic reinforcement learning (arXiv 2605.15155)."""

__version__ = "0.1.0"
