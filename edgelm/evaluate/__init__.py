"""What a model does, measured: speed (bench); quality comes here too."""
