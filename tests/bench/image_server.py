"""A stand-in image server in the bench's own process."""

from contextlib import AbstractAsyncContextManager

from support.loopback import Answers, answering, everywhere


def serving(answers: Answers) -> AbstractAsyncContextManager[int]:
    """Its port. At the end it has the time to end what it has begun."""
    return answering(everywhere(answers), shutdown_timeout=2.0)
