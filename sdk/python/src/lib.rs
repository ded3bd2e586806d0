//! The Python package sealos-devbox, native half
