"""The fixtures that all tests share; each module says what its own are for."""

pytest_plugins = ["support.agent_requests", "support.chart", "support.plane"]
