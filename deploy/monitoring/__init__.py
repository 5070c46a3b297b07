"""What Prometheus and Grafana are given: scrape configuration, rules and dashboards, as code.

Called by: docs/generate.py (`make docs` writes deploy/prometheus and deploy/grafana), tests. Nothing here runs with
Regente itself; only the standard library and yaml are used.
"""
