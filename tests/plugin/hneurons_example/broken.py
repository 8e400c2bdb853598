"""A plugin that cannot be imported: it must be named in one sentence and harm nothing else."""

raise RuntimeError("this module was written for another\nversion")
