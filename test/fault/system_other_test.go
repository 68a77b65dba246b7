//go:build !linux

package fault

import "testing"

func mountDisk(t *testing.T, _ string, _ int) {
	t.Helper()
	t.Skip("small disks are made on Linux only")
}

func freeBytes(string) (int64, error) { return 0, nil }

func openFiles(t *testing.T) int {
	t.Helper()
	t.Skip("the limit of open files is read on Linux only")
	return 0
}

func (n *node) memory(t *testing.T) int64 {
	t.Helper()
	t.Skip("the memory of a process is read on Linux only")
	return 0
}
