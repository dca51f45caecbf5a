"""A whole job, for any front: what is asked for becomes runs, and what comes of them a record, sheets and files."""
