"""Train, validation and test roles: drawn, read from a file, or published."""
