"""Delivery: hands each outcome to the partner, signed, or in a feed that can be polled."""
