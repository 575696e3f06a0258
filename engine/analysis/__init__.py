"""What a finished run has learned: retrieval across modalities, and predictions one by one."""
