"""What can be wrong with a dataset or a recording, one module per noun."""
