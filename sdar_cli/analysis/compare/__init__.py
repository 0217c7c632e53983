"""Comparing runs, groups of runs, points of sweeps and checkpoints: which test belongs to what is compared."""
