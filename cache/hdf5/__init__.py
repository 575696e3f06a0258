"""Read the part of HDF5 that feature files use, safely, without the HDF5 library."""
