"""From a teacher to a student that MPC runs cheaply: replace, calibrate, distil, measure, write its card."""
