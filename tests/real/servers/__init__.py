"""Programs that the tests start in processes of their own, and how they are started and stopped."""
