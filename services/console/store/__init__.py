"""All queries and requests of the console: database, commands to other services, broker, other services' readiness."""
