"""A later version, whose only migration changes the busiest table."""
