"""What kwok does with fake nodes and their pods."""
