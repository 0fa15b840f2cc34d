"""What a representation and its predictions are worth: pure functions of arrays, one idea a file."""
