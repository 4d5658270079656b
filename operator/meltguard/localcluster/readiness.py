"""What must be true of the API before the first pod can be made."""

import time
from typing import Final

from meltguard.core.units import Seconds
from meltguard.errors import Unavailable
from meltguard.localcluster.asking import Door

LIMIT: Final = Seconds(30.0)
LOOK_EVERY: Final = Seconds(0.05)


def await_default_account(door: Door) -> None:
    """Wait for the ServiceAccount `default/default`: without it every pod in that namespace is refused.

    Raises:
        Unavailable: it does not appear.
    """
    deadline = time.monotonic() + LIMIT
    while not door.says_ok("/api/v1/namespaces/default/serviceaccounts/default"):
        if time.monotonic() > deadline:
            raise Unavailable(
                f"the ServiceAccount default/default is not there after {LIMIT:.0f} s: "
                "the controller manager does not work; look into its log"
            )
        time.sleep(LOOK_EVERY)
