"""A real control plane as processes on loopback: for the demo and the tests."""
