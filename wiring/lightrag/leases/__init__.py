"""The lease of a workspace: the right to change it, which one process at a time has. See docs/several_workers.md."""
