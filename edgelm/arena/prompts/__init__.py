"""What contestants are asked: shipped sets, files, and one's own chats."""
