"""Tests of skill banks, retrieval, and the prompts of student and teacher."""
