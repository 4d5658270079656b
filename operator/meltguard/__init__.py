"""Meltguard keeps an image-generation service alive through a surge."""

from importlib.metadata import version

__version__ = version("meltguard")
