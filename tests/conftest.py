"""The fixtures that all tests share; each module says what its own are for."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)  # a slow machine is no fault: no test judges time
settings.load_profile("no deadline")

pytest_plugins = ["support.agent_requests", "support.chart", "support.plane"]
