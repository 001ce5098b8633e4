//! Requests, images and pods, and the specs they become.
