"""Requests, connections, the bodies of answers, and what a failure means in words."""
