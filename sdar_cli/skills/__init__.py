"""Skill banks: loading, retrieval, and the prompts of student and teacher."""
