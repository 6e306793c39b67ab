"""Labels in other tools' formats → a data set of images and masks."""
