"""The report: one HTML file, or the same in a terminal, made of run directories only."""
