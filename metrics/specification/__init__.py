"""What a flow file may say, how it is read, and how its checks are evaluated; flow.py is the way in."""
