"""What the plane's programs are built from: a go.mod and a go.sum each, which pin every source by its hash."""
