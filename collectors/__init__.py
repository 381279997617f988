"""How observations get in: recorder, spool, writer, importer, receivers."""
