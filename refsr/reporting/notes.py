"""What must be known to read the tables of an evaluation; some are formatted with its numbers."""

PLAIN = "Protocol `plain`: all pixels of R, G and B."
PAPER = (
    "Protocol `paper` (Liu et al., IEEE Access 2019): BT.601 luminance, the outer 8 pixels cut "
    "off, SSIM 11x11 with sigma 1.5, the mean output of 4 rotations x mirror (ensemble). One pass"
    " is the same without rotations: they cost where a network was never shown a turned face."
)
DIFFERENCE = (
    "Paired differences. p: sign-flip test over identities (all sign patterns up to 13 "
    "identities, else 10,000 drawn, so that p is at least 0.0001), after Holm's correction over "
    "all tests of this table."
)
BREAK_EVEN = (
    "The share of wrong references at which giving one is no better than giving none: 0 where the"
    " right one does not help, 1 where a wrong one does not hurt."
)
MORE_CONDITIONS = (
    "More ways to give a reference, measured by fewer metrics. On the right: the paired "
    "difference to RefSR with the right reference on the same images, p after Holm's correction "
    "over this table. Several references are the person's reference and other images, never the "
    "held-out one; only images of people who have enough take part."
)
VERIFICATION = (
    "Is it the same person? Outputs as probes against everyone's references: area under the ROC "
    "curve, and the shares of genuine (TAR) and of impostor pairs (FAR) that are accepted. The "
    "threshold is fixed on true images, where {false_accept_rate:.0%} of the impostor pairs are "
    "accepted: a cosine of {thresholds}. The right reference is itself in that gallery, which "
    "favours its condition; `other photos` is a gallery of everyone's other true images, which no "
    "main condition was given. The intervals are over people."
)
KID = (
    "Kernel distance (KID's estimator and kernel) to {reference_set}. Features are VGG16-HED's "
    "conv5_3, averaged over places and brought to one length, not Inception's: comparable within "
    "this table only. Mean and standard deviation over 100 subsets of at most 100 images."
)
SAMPLES = (
    "RefSR with the right reference: {samples} samples at temperature 1 of each of {images} "
    "images, one of a person. "
)
BEST = (
    "Of {samples} samples of each of the {images} images, the one whose identity is the nearest to "
    "the reference, by dlib's network, which judges it too. A sample adds a random residual to the "
    "output, of what LR leaves open."
)
BEST_ROWS = {
    "output": "the output, temperature 0",
    "sample": "a sample, mean",
    "nearest": "the nearest sample",
}
NO_SAMPLES = "This network draws no samples: its output is a function of its input. "
ACTIVE = (
    "A unit is active where its posterior mean, less the prior's, varies by more than 0.01 over "
    "the images."
)
GAP = (
    "The share is (with - without) / (true photos - without), of means over people: 0 is RefSR "
    "without a reference, 1 another true photo of the person, above 1 closer to the true image "
    "than that photo, which has another pose and light. Identity is the cosine to the true image, "
    "and of true photos that of the right reference to it. TAR is the share accepted as the person "
    "against the right reference, above {references:.4f}; the right reference is an input, and of "
    "four references so are the others. A share is absent where true photos are no better than the "
    "output without a reference."
)
COMPATIBILITY = (
    "How well each reference fits, by the compatibility score of RefSR, before it is used. AUC: of "
    "right references against these. The differences are RefSR with this reference minus RefSR "
    "without one: of all images, and of those whose reference is rated as fitting ({fits:.0%} or "
    "more). For a wrong reference the latter is what it costs without a warning. The nearest one "
    "is the reference, among all people, that is most alike by dlib."
)
RELIABILITY = (
    "Is a score the share of right references? Each image counts with its right and with a wrong "
    "one. The mean difference (expected calibration error) is {error:.3f}. The score was "
    "calibrated on validation people."
)
SLICE = (
    "RefSR with the right reference; gain is its identity minus that with a wrong one. The last "
    "line is the gap between two groups; its interval is corrected for the number of gaps in all "
    "slices (Bonferroni), the others are not. Groups of fewer than three people are left out."
)
ROBUSTNESS = (
    "The same models on LR images that no clean bicubic made, with the references as they are: LR "
    "saved as a JPEG of quality 30; HR blurred by a Gaussian of half an LR pixel; LR with Gaussian "
    "noise of 8 levels; the crop moved by 3/32 of its side, and the true image with it."
)
