"""The instruction catalogue: one `.pyi` stub per module. `shared.contracts.catalogue` reads them."""
