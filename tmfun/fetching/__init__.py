"""Data sets that are known by name, and getting them: nothing is in place before it is recognised."""
