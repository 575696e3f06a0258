"""What inner steps minimize: contrastive losses, and the objectives that are made of them."""
