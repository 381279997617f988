"""The database: connection, migrations, writing, reading, retention, SQL; store.py is the way in."""
