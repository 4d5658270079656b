"""What a frozen value works out once, at its first use.

Python 3.11's `functools.cached_property` takes one lock for all values of a class: while one thread works out an index
of thousands of nodes, another that wants the index of any other view waits. Python 3.12 has no such lock, and neither
has this: two threads that ask at the same time work it out twice, alike.
"""

from collections.abc import Callable
from typing import Generic, Self, TypeVar, overload

Value = TypeVar("Value")
Owner = TypeVar("Owner")


class once(Generic[Owner, Value]):  # noqa: N801 - reads as the built-in property does
    """A property of a value with a `__dict__`, in which the result stays: this is asked only the first time."""

    def __init__(self, work_out: Callable[[Owner], Value]) -> None:
        self._work_out = work_out
        self._name = work_out.__name__
        self.__doc__ = work_out.__doc__

    @overload
    def __get__(self, owner: None, kind: type) -> Self: ...

    @overload
    def __get__(self, owner: Owner, kind: type) -> Value: ...

    def __get__(self, owner: Owner | None, kind: type) -> Self | Value:
        if owner is None:
            return self
        value = self._work_out(owner)
        owner.__dict__[self._name] = value
        return value
