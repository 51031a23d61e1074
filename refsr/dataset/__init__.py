"""VGGFace2 as it comes, the curated set made from it, and HR -> LR."""
