"""The demo: simulated traffic, the text that simulated systems print, and the command."""
