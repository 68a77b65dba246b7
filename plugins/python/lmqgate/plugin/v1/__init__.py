"""The messages of the plugin contract, generated from plugins/proto (make proto)."""
