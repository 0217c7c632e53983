"""Sweeps: many runs over a grid of settings and seeds, planned at once, executed anywhere, summed up at the end."""
