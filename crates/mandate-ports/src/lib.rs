//! Narrow traits between the core and the world, and what each promises.
