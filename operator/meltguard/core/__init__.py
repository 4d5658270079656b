"""The decision: values in, values out. Nothing here reads, writes, waits or draws lots."""
