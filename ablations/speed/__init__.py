"""How fast everything is: `tmfun bench`, plain references to hold it against, and the floor that memory sets."""
