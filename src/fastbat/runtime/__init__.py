"""Facts about the machine and about torch: device, precision, layout, processes, and temporary modes of a model."""
