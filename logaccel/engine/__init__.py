"""What the array does: fold-level and register-level engines, post-processing."""
