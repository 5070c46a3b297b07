"""What delivery decides: pure functions, with time and chance as arguments."""
