"""Episodes, meta-training, few-shot evaluation on feature files.

Modules here are what commands and programs call; folders hold what these are made of.
"""
