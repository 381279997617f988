"""Who may see and do what on the pages; control.py is the way in, permissions.py the table."""
