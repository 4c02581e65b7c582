"""Import of finished trials from earlier studies into a new one."""
