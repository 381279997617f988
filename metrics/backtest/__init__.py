"""The detector over recorded history, from files or from the store; backtest.py is the way in."""
