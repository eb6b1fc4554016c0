"""From raw files as publishers lay them out to a data set on disk, with a datasheet of what was dropped or filled."""
