"""The one reader of messages: training, chats, batches and servers take the same forms and refuse the rest alike."""
