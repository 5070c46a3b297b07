"""What the collector decides: pure functions, with time and ids as arguments."""
