"""The scheduler's decisions as pure functions: time, ids and chance are arguments."""
