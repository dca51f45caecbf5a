"""Other tools' files: texts in, settings and what was not understood out; one file a tool."""
