"""One file a port, one client library each: the only code that talks to the outside for the operator."""
