"""The command line: one module a command, thin, composing what the other folders hold."""
