"""Tests of the method.  Functions named check_* take the package under test, so mutants can take its place."""
