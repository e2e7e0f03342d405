"""What a conversion will make, known before anything is written."""
