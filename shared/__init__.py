"""What two or more services need: contracts, domain rules, broker, database, observation, runtime."""
