"""The executor's decisions: pure functions over steps, calls and replies."""
