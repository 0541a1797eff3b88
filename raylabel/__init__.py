"""Verified, pixel-accurate grounding annotations from a vision-language model, at scale, on Ray."""

__version__ = "0.1.0"
