"""One file for each kind of thing that another package can add to hneurons."""
