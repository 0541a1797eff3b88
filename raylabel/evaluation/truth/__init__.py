"""What is true of images, read from the files of data sets: one file a format, and which one a file is of."""
