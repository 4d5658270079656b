"""Units are types: a bare float never crosses a function boundary.

They exist for the type checker. At run time each is its plain type, since a NewType's call is a Python function, and a
decision makes a dozen of them.
"""

from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    Seconds = NewType("Seconds", float)
    Instant = NewType("Instant", float)  # seconds since the epoch, UTC
    Celsius = NewType("Celsius", float)
    Percent = NewType("Percent", int)  # 0 to 100, whole
    Share = NewType("Share", float)  # 0 to 1
    Units = NewType("Units", float)  # image units: one is a reference image (1024 x 1024, default steps)
    UnitsPerSecond = NewType("UnitsPerSecond", float)
    Pressure = NewType("Pressure", float)  # 0.7 calm, 1.0 target, 1.5 critical
    Gpus = NewType("Gpus", int)
    GpuHours = NewType("GpuHours", float)
    Money = NewType("Money", float)  # in the one currency that all pools' costs are written in
    NodeName = NewType("NodeName", str)
    PodUid = NewType("PodUid", str)
    PoolName = NewType("PoolName", str)
    TierName = NewType("TierName", str)
    Epoch = NewType("Epoch", int)  # leaseTransitions of the operator's Lease
    Revision = NewType("Revision", int)  # of a service's limits, counts up within an epoch
else:
    Seconds = Instant = Celsius = Share = Units = UnitsPerSecond = Pressure = GpuHours = Money = float
    Percent = Gpus = Epoch = Revision = int
    NodeName = PodUid = PoolName = TierName = str
