"""From exposition text to submissions."""
