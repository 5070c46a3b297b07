"""The console: the API for operators, and the pages on top of it."""
