"""What people ask for, as the controller's parts read it; who mirrors it from the API server stands in `resources`."""

from typing import Protocol

from meltguard.api.to_core import PolicyObject, PoolObject


class CustomResources(Protocol):
    """Policies and pools, as last seen."""

    def policies(self) -> dict[str, PolicyObject]:
        """Policies by uid."""
        ...

    def policy_exists(self, uid: str) -> bool:
        """Whether the API server holds an object of this uid, readable or not."""
        ...

    def pools(self) -> tuple[PoolObject, ...]:
        """All pools, by name."""
        ...
