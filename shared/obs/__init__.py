"""Logs, metrics, traces, ids and the clock: what a service shows of itself."""
