"""What people write into prompts, as the tools that they come from read it: texts in, weighted tokens out. No nets."""
