"""A look at a table that proposes a config: which columns are inputs, which are questions, and why."""
