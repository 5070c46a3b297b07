"""The API for operators: one module per resource, all under /api/v1."""

from services.console.api.routes import api_router

__all__ = ["api_router"]
