//! The local backend: namespaces, overlay root file systems, cgroups and storage pools on one Linux machine
