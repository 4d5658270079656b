"""The demo: a surge on a local plane, told from end to end, with a checker that does not trust the operator."""
