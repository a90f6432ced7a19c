"""What runs on a person's machine, in CI or in a container, and never in an Agent."""
