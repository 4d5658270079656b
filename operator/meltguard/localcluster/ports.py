"""Which component has which of the block's first addresses: 127.B.0.n."""

from typing import Final

API_SERVER: Final = 1
ETCD: Final = 2
CONTROLLER_MANAGER: Final = 3
SCHEDULER: Final = 4
KWOK: Final = 5
PROMETHEUS: Final = 6
VALKEY: Final = 7
RUNNER: Final = 8
