"""The agent inside an image server's own process: a middleware for its app, and a lifespan for the rest.

    guard = Guard(settings)
    app = FastAPI(lifespan=guard.lifespan)
    app.add_middleware(guard.middleware)

The app's own server takes the users' requests; the agent listens on its control address only.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from meltguard.agent.agent import Agent
from meltguard.agent.asgi import App
from meltguard.agent.quota_valkey import ValkeyQuotaStore
from meltguard.agent.server import control_of, guarding
from meltguard.agent.settings import Address, AgentSettings
from meltguard.clock import SystemClock


class Guard:
    """One agent for one app. Built before the event loop, run by the app's lifespan."""

    def __init__(self, settings: AgentSettings) -> None:
        quota = settings.quota
        self._store = None if quota.store is None else ValkeyQuotaStore(quota.store, quota.budget)
        self._clock = SystemClock()
        self.agent = Agent(settings, self._clock, self._store)
        self._stack = AsyncExitStack()
        self.control: Address | None = None  # where it listens, while it runs

    def middleware(self, app: App) -> App:
        """The app behind the admission, as frameworks add a middleware."""
        return guarding(self.agent, app, self._stack, self._clock)

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """Run the agent as long as the app runs.

        Raises:
            InvalidInput: its control address cannot be listened on.
        """
        async with self._stack:
            if self._store is not None:
                self._stack.push_async_callback(self._store.close)
            self.control = await self._stack.enter_async_context(control_of(self.agent))
            yield
