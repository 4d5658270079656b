"""A surge in simulated time: the unchanged `decide()` steers serving pods that exist only here. Seeded, repeatable."""
