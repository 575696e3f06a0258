"""What a feature file is: write, map, pair. NumPy and h5py only, no torch."""

from xmg.cache.errors import XmgError
from xmg.cache.read import FeatureFile, decode
from xmg.cache.write import FeatureSpec, FeatureWriter, Listing, Reject

__all__ = ["FeatureFile", "FeatureSpec", "FeatureWriter", "Listing", "Reject", "XmgError", "decode"]
