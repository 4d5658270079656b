"""Meltguard keeps an image-generation service alive through a surge."""
