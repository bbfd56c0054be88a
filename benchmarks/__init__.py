"""Speed against plain code and peers, as ratios within one run; see README.md."""
