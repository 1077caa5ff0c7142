"""What an app does on this machine: infer, evaluate, uncertainty, fine-tune, ..."""
