"""The operator's process: loops, reconcile, Kopf. Nothing here decides; `meltguard.core` does."""
