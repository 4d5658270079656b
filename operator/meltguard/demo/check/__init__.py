"""The checker's parts: evidence as others wrote it down, and one promise a function. Nothing here asks the operator."""
