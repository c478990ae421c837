"""A libvirt definition: read, with bounds, into our words, and written."""
