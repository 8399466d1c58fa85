//! Landing: the order of durability, as a machine without IO.
