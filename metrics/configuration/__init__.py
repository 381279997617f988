"""What the configuration file may say, and secrets by reference; config.py is the way in."""
