"""Outside the container: expands the matrix, prepares environments, launches cells, judges and reports them."""
