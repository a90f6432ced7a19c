"""What an account should have, what it has, and the way from one to the other."""
