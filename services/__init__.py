"""The services. Each is run as `python -m services.<name>`, owns its part of the data, and imports none of the
others."""
