"""What the check reads: one endpoint, several, a Databricks workspace, the GPUs of the host."""
