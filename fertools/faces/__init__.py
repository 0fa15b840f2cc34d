"""From an image file to aligned crops: decode, detect (MTCNN), align; and find near copies of a face."""
