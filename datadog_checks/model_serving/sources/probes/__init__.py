"""Readiness of serving systems, as catalog files describe it, and of Databricks."""
