"""What commands print: tables, labelled facts."""
