"""Every method's settings and presets, one file a method, read without torch; its docstring is the method's title."""
