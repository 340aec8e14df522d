"""What commands print: sentences and tables of the documents that they make."""
