"""Monitors evaluated over time series, offline, as far as Datadog documents how it evaluates them.

What Datadog leaves open is a dimension of `variants.Variant`, and every possibility is evaluated. What is not known
well enough to be evaluated at all raises `NotSimulated`.
"""
