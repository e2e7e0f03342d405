"""Text models that were published inside of models that see: their files hold the text model alone."""
