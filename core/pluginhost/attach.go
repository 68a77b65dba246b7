package pluginhost

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// attachedDeadline is the deadline of calls to a process that was attached to: long enough for a person with a debugger.
const attachedDeadline = 10 * time.Minute

// attach connects to a process that somebody else started.
func (h *Host) attach(s spec) (*instance, error) {
	target, version, err := attachTarget(s.Attach)
	if err != nil {
		return nil, err
	}
	inst := &instance{spec: s, started: time.Now(), timing: h.opts.timing, offered: h.opts.versions, version: version}
	if inst.version == 0 {
		inst.version = inst.offered[0]
	}
	if !slices.Contains(inst.offered, inst.version) {
		return nil, fmt.Errorf("it speaks version %d of the plugin contract, this gateway speaks %s", version, versionList(inst.offered))
	}
	inst.conn, err = grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(
		grpc.MaxCallRecvMsgSize(handshake.MaxMessageBytes), grpc.MaxCallSendMsgSize(handshake.MaxMessageBytes)))
	if err != nil {
		return nil, fmt.Errorf("%q cannot be attached to: %w", s.Attach, err)
	}
	inst.file.path = s.Attach
	inst.control = pluginv1.NewPluginClient(inst.conn)
	return inst, nil
}

// attachTarget parses the address of a process into a gRPC target, and returns the contract version if the address states one.
func attachTarget(address string) (target string, version int, err error) {
	if fields := strings.Split(strings.TrimSpace(address), "|"); len(fields) >= 5 { // CORE|VERSION|NETWORK|ADDRESS|grpc
		if version, err = strconv.Atoi(fields[1]); err != nil {
			return "", 0, fmt.Errorf("%q is no handshake line", clip(address))
		}
		if address = fields[3]; fields[2] == "unix" {
			address = "unix:" + address
		}
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path, err = filepath.Abs(path); err != nil {
			return "", 0, err
		}
		return "unix://" + path, version, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() || port == "" {
			err = fmt.Errorf("%s is not on loopback", address)
		}
	}
	if err != nil {
		return "", 0, fmt.Errorf("%q is no place to attach to: write unix:/PATH, or 127.0.0.1:PORT, as the plugin prints it when it is started with --debug", clip(address))
	}
	return "passthrough:///" + address, version, nil
}

// paused reports whether an unanswered health check may mean a breakpoint rather than a dead process.
func (i *instance) paused(err error) bool {
	return i.spec.Attach != "" && status.Code(err) == codes.DeadlineExceeded
}
