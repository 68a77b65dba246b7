"""lmqgate, an MQTT gateway: what plugins in Python are made with. See lmqgate.plugin."""
