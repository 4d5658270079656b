"""Wire shapes: what is written to, and read from, the outside."""
