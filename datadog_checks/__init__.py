"""Namespace shim for a source tree. Not shipped: the installed namespace belongs to datadog-checks-base."""

__path__ = __import__("pkgutil").extend_path(__path__, __name__)
