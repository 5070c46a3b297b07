"""Alerts: notices what is wrong, and tells people."""
