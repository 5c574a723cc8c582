"""The connection pools of drivers: watched, counted, looked into, and weighed against what the server can take."""
