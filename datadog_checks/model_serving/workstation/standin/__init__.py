"""A stand-in for the Agent on a workstation: builtin modules, aggregation as the Agent does it, and output.

Importing this package changes nothing; see `install.standing_in` for what puts the stand-in in place.
"""
