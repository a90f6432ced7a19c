"""Databricks Model Serving: a workspace, its serving endpoints and what they say about themselves."""
