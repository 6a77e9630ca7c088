"""A real Kubernetes for tests: a control plane on loopback, a kubelet that executes processes, a proxy that fails."""
