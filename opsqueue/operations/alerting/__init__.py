"""The parts of `alert_management`."""
