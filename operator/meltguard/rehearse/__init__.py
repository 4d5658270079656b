"""A policy on a recorded surge, before it is applied: the operator's decision and mover over a service made up here."""
