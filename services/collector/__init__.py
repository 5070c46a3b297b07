"""The collector: takes tasks in, and tells partners where they stand."""
