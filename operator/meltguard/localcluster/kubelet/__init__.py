"""A node of the plane whose pods are real local processes: no images, no namespaces, one container each."""
