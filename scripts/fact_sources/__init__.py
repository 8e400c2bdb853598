"""Where the questions of the set `facts` come from, one module a subject."""
