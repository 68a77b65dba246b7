package doctor

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lmqgate/lmqgate/core/limits"
)

// raiseFiles is the remedy where a process may have too few files open.
const raiseFiles = "raise it: LimitNOFILE=1048576 in the unit file, or ulimit -n"

// Machine provides what the checks need to know of the machine.
type Machine struct {
	Now func() time.Time
	// Free returns the free bytes on the disk of a directory.
	Free func(dir string) (uint64, error)
	// OpenFiles returns how many files and connections a process may have open, 0 if unknown. A gateway that systemd starts may have
	// another limit.
	OpenFiles func() uint64
	// Memory returns the memory of the machine or of the control group, in bytes; 0 if unknown.
	Memory func() int64
	// TempDir returns the directory of the plugins' sockets.
	TempDir func() string
}

// ThisMachine returns the machine that the process runs on.
func ThisMachine() *Machine {
	return &Machine{Now: time.Now, OpenFiles: limits.OpenFiles, Memory: limits.Available, TempDir: os.TempDir,
		Free: func(dir string) (uint64, error) {
			usage, err := vfs.Default.GetDiskUsage(dir)
			return usage.AvailBytes, err
		}}
}

// someFiles is the recommended limit of open files for a gateway without a limit of connections.
const someFiles = 65536

// machine checks the limits of the machine.
func machine(_ context.Context, o *Options) (out []Finding) {
	limit, clients := o.Machine.OpenFiles(), o.Config.MQTT.MaxConnections
	switch {
	case limit == 0:
	case clients > 0 && limit < uint64(clients)+limits.FilesBeside:
		out = append(out, fault(fmt.Sprintf("a process may have %d files open, which is too few for mqtt.max_connections (%d) and %d for everything else",
			limit, clients, limits.FilesBeside), raiseFiles+", or lower mqtt.max_connections"))
	case clients == 0 && limit < someFiles:
		out = append(out, warning(fmt.Sprintf("a process may have only %d files open, each connection is one, and mqtt.max_connections has no limit",
			limit), raiseFiles))
	}
	if have, asked := o.Machine.Memory(), int64(o.Config.Limits.Node.Memory); have > 0 && asked > have {
		out = append(out, fault(fmt.Sprintf("limits.node.memory is %d MiB, and the machine or control group has %d MiB", asked>>20, have>>20),
			"lower limits.node.memory, or leave it out, which takes half of what there is"))
	}
	if f, ok := unwritable(o.Machine.TempDir(), "TMPDIR"); ok {
		out = append(out, f)
	}
	return out
}
