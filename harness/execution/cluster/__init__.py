"""Execution of trials on other machines: messages, transfer of files, the agent of a node."""
