"""What the rules look at, read from the database: one module per subject. Broker, database and services: health.py."""
