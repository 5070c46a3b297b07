"""Containers on one machine, alone or as a cluster; docs/deploy.md."""
