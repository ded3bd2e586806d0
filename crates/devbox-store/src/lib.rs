//! Durable records of the control plane: keys, boxes, audit
