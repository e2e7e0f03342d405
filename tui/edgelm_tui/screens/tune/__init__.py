"""The screen of training runs, and the dialog that begins one."""
