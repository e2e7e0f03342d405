"""What screens stand on: engine, saved chats, jobs, settings, notices, and what can be done with them from everywhere."""
