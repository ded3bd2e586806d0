//! The control plane: boxes, keys, guards around the Guest contract, audit, metrics, TLS
