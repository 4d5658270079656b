"""The serving side: admits, queues or refuses requests before an image server, as signed documents say."""
