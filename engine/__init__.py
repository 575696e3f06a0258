"""Episodes, meta-training, few-shot evaluation on feature files."""
