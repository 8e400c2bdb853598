"""Who says what is right: alias and language-model judges, graded rubrics, option and abstention rules."""
