"""Notifiers: one service a module; each says which limits of the service it keeps and where they are stated."""
