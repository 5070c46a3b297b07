"""Decisions of alerts: pure."""
