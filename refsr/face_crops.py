"""Where the landmarks of a face lie in the crops that networks see."""

LANDMARKS = "usual_landmarks"  # (5, 2) of the training crops, among the facts of a checkpoint
# Where the checkpoint does not say: (x, y) in [-1, 1], from edge to edge of the crop. Eye on the
# left, eye on the right, nose tip, left and right corner of the mouth.
USUAL = ((-0.33, -0.24), (0.33, -0.24), (0.0, 0.12), (-0.28, 0.45), (0.28, 0.45))
