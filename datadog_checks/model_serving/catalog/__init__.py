"""What each serving system exposes and which canonical metric each signal becomes, as data."""
