"""The themes, and what becomes of them on terminals with fewer colours."""
