"""The check without an Agent: instances are run here, and what an Agent would commit goes to Datadog's intake.

`settings` reads bridge.yaml, `engine` runs instances, `spool` keeps on disk what they gave and what they must remember,
`deliverer` delivers it through `intake`. `process` puts these together.
"""
