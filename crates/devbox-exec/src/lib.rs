//! The process engine: spawn, standard streams, signals, whole-tree kill, limits
