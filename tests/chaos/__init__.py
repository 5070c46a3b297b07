"""Faults put into a running cluster, one after the other, while tasks flow: `make chaos`."""
