package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/internal/freeport"
	"github.com/lmqgate/lmqgate/remoting"
)

// patient is a healthy gateway, until a test plants a fault.
type patient struct {
	t   *testing.T
	dir string
	c   *config.Config
	o   Options
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	c := config.Default()
	p := &patient{t: t, dir: t.TempDir(), c: c}
	c.Node.DataDir = filepath.Join(p.dir, "new", "data")
	c.Listeners = []config.Listener{{Type: config.ListenerTCP, Address: "127.0.0.1:0"}}
	c.Admin.Address = "127.0.0.1:0"
	c.Store.Type = config.StoreLocal
	c.Meta.Plugin, c.Meta.Config = "meta-local", nil
	p.o = Options{Config: c, Machine: &Machine{Now: time.Now, Free: func(string) (uint64, error) { return 1 << 40, nil },
		OpenFiles: func() uint64 { return 1 << 20 }, Memory: func() int64 { return 1 << 34 }, TempDir: func() string { return p.dir }}}
	return p
}

// certificate writes a certificate with the given validity, and its key.
func (p *patient) certificate(from, until time.Time) (cert, key string) {
	p.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(p.t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(p.t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(p.t, err)
	write := func(name, kind string, content []byte) string {
		path := filepath.Join(p.dir, name)
		require.NoError(p.t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600))
		return path
	}
	salt := fmt.Sprint(until.UnixNano())
	return write("cert"+salt, "CERTIFICATE", der), write("key"+salt, "PRIVATE KEY", raw)
}

func (p *patient) tls(cert, key string) {
	p.c.Listeners = []config.Listener{{Type: config.ListenerTLS, Address: "127.0.0.1:0", CertFile: cert, KeyFile: key}}
}

// closed returns an address where nobody listens.
func (p *patient) closed() string {
	p.t.Helper()
	address, err := freeport.Address() // the next listener, or another process, may get what was an ephemeral port
	require.NoError(p.t, err)
	return address
}

func (p *patient) taken() string {
	p.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().String()
}

func TestAGatewayThatIsWellHasNoFindingAndIsLeftAsItWas(t *testing.T) {
	p := newPatient(t)
	p.tls(p.certificate(time.Now().Add(-time.Hour), time.Now().Add(365*24*time.Hour)))
	for _, f := range Run(t.Context(), p.o) {
		require.Equal(t, OK, f.Level, f.What)
		if f.Area == "data" {
			require.Contains(t, f.What, "1024.0 GiB are free")
		}
	}
	require.NoDirExists(t, p.c.Node.DataDir)
	left, err := os.ReadDir(p.dir)
	require.NoError(t, err)
	require.Len(t, left, 2, "certificate and key")
}

// planted is a fault, and what doctor says of it.
type planted struct {
	plant                     func(*patient)
	level, area, what, remedy string
}

// rocketMQFault plants a fault of a RocketMQ.
func rocketMQFault(spoil func(*fakeRocketMQ), level, what, remedy string) planted {
	return planted{func(p *patient) { p.withRocketMQ(spoil) }, level, "rocketmq", what, remedy}
}

func TestPlantedFaultsAreFoundWithTheirRemedies(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]planted{
		"a port that is taken": {func(p *patient) { p.c.Listeners[0].Address = p.taken() },
			Fault, "listeners", "listeners[0].address: cannot listen on", "ss -ltnp"},
		"two listeners of one address": {func(p *patient) {
			p.c.Listeners[0].Address = p.closed()
			p.c.Admin.Address = p.c.Listeners[0].Address
		}, Fault, "listeners", "admin.address: cannot listen on", "change admin.address"},
		"an address of another machine": {func(p *patient) { p.c.Listeners[0].Address = "192.0.2.1:1883" },
			Fault, "listeners", "192.0.2.1:1883", "name an address of this machine"},
		"a socket file in a directory that is none": {func(p *patient) {
			file := filepath.Join(p.dir, "file")
			require.NoError(p.t, os.WriteFile(file, nil, 0o600))
			p.c.Listeners[0] = config.Listener{Type: config.ListenerUnix, Path: filepath.Join(file, "mqtt.sock")}
		}, Fault, "listeners", "listeners[0].path: nothing can be written in", "chown"},
		"a data directory that cannot be made": {func(p *patient) {
			file := filepath.Join(p.dir, "file")
			require.NoError(p.t, os.WriteFile(file, nil, 0o600))
			p.c.Node.DataDir = filepath.Join(file, "data")
		}, Fault, "data", "node.data_dir: nothing can be written in", "chown"},
		"a data directory that everybody may change": {func(p *patient) {
			require.NoError(p.t, os.MkdirAll(p.c.Node.DataDir, 0o700))
			require.NoError(p.t, os.Chmod(p.c.Node.DataDir, 0o777))
		}, Warning, "data", "every user of this machine may change", "chmod o-w"},
		"a full disk": {func(p *patient) { p.o.Machine.Free = func(string) (uint64, error) { return 10 << 20, nil } },
			Fault, "data", "10 MiB are free", "larger disk"},
		"a disk that fills": {func(p *patient) { p.o.Machine.Free = func(string) (uint64, error) { return 500 << 20, nil } },
			Warning, "data", "only 500 MiB are free", "larger disk"},
		"too few open files for the connections": {func(p *patient) {
			p.c.MQTT.MaxConnections = 10_000
			p.o.Machine.OpenFiles = func() uint64 { return 1024 }
		}, Fault, "machine", "too few for mqtt.max_connections (10000)", "LimitNOFILE"},
		"few open files": {func(p *patient) { p.o.Machine.OpenFiles = func() uint64 { return 4096 } },
			Warning, "machine", "only 4096 files", "LimitNOFILE"},
		"more memory than there is": {func(p *patient) { p.c.Limits.Node.Memory = 1 << 40 },
			Fault, "machine", "limits.node.memory is 1048576 MiB", "leave it out"},
		"no directory for temporary files": {func(p *patient) {
			file := filepath.Join(p.dir, "file")
			require.NoError(p.t, os.WriteFile(file, nil, 0o600))
			p.o.Machine.TempDir = func() string { return filepath.Join(file, "tmp") }
		}, Fault, "machine", "TMPDIR: nothing can be written", "TMPDIR"},
		"a certificate that has expired": {func(p *patient) { p.tls(p.certificate(now.Add(-48*time.Hour), now.Add(-24*time.Hour))) },
			Fault, "certificates", "has expired on", "new certificate"},
		"a certificate that expires soon": {func(p *patient) { p.tls(p.certificate(now, now.Add(48*time.Hour))) },
			Warning, "certificates", "expires on", "new certificate"},
		"a clock that is behind": {func(p *patient) { p.tls(p.certificate(now.Add(48*time.Hour), now.Add(96*time.Hour))) },
			Fault, "certificates", "is valid only from", "set the clock"},
		"a key of another certificate": {func(p *patient) {
			cert, _ := p.certificate(now, now.Add(1000*time.Hour))
			_, key := p.certificate(now, now.Add(2000*time.Hour))
			p.tls(cert, key)
		}, Fault, "certificates", "private key does not match", "the private key that belongs to it"},
		"a private key that everybody may read": {func(p *patient) {
			cert, key := p.certificate(now, now.Add(1000*time.Hour))
			require.NoError(p.t, os.Chmod(key, 0o644))
			for dir := p.dir; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
				require.NoError(p.t, os.Chmod(dir, 0o755))
			}
			p.tls(cert, key)
		}, Fault, "files", "may read the private key", "chmod o-rwx"},
		"an admin token that others may read": {func(p *patient) {
			require.NoError(p.t, os.MkdirAll(p.c.Node.DataDir, 0o700))
			require.NoError(p.t, os.WriteFile(filepath.Join(p.c.Node.DataDir, "admin-token"), []byte("0123456789abcdef"), 0o600))
			require.NoError(p.t, os.Chmod(filepath.Join(p.c.Node.DataDir, "admin-token"), 0o644))
		}, Fault, "files", "others than its owner may read", "delete it"},
		"everybody is let in": {func(p *patient) { p.c.Auth.Plugin = config.AuthNone }, Warning, "files", "auth.plugin is none", "auth-hmac"},
		"an open admin address without TLS": {func(p *patient) { p.c.Admin.Address = "0.0.0.0:0" },
			Warning, "files", "open to other machines without TLS", "admin.cert_file"},
		"an etcd that does not answer": {func(p *patient) {
			p.c.Meta.Plugin, p.c.Meta.Config = "meta-etcd", config.PluginConfig{"endpoints": []any{p.closed()}}
		}, Fault, "services", "meta.config.endpoints: 127.0.0.1", "correct meta.config.endpoints"},
		"one of two etcds that does not answer": {func(p *patient) {
			p.c.Meta.Plugin, p.c.Meta.Config = "meta-etcd", config.PluginConfig{"endpoints": []any{p.closed(), p.taken()}}
		}, Warning, "services", "connection refused", "start the service"},
		"a webhook that does not answer": {func(p *patient) {
			p.c.Auth.Plugin, p.c.Auth.Config = "auth-http", config.PluginConfig{"url": "http://" + p.closed() + "/auth"}
		}, Fault, "services", "auth.config.url: http://127.0.0.1", "start the service"},
		"a name server that does not answer": {func(p *patient) {
			p.c.Store.Type, p.c.Store.RocketMQ.Namesrv = config.StoreRocketMQ, []string{p.closed()}
			p.o.RocketMQ = remoting.New(remoting.Config{})
			p.t.Cleanup(func() { _ = p.o.RocketMQ.Close() })
		}, Fault, "rocketmq", "store.rocketmq.namesrv: 127.0.0.1", "start the name server"},
		"no broker":               rocketMQFault(func(f *fakeRocketMQ) { f.broker = "" }, Fault, "no broker is registered", "namesrvAddr="),
		"a broker without master": rocketMQFault(func(f *fakeRocketMQ) { f.noMaster = true }, Warning, "a has no master", "start its master"),
		"a broker that does not answer": {func(p *patient) { p.withRocketMQ(func(f *fakeRocketMQ) { f.broker = p.closed() }) },
			Fault, "rocketmq", "does not answer", "brokerIP1"},
		"light message queues off": rocketMQFault(func(f *fakeRocketMQ) { f.settings["enableLmq"] = "false" },
			Fault, "light message queues off", "set enableLmq=true in /etc/broker.conf"),
		"dispatch to several queues off": rocketMQFault(func(f *fakeRocketMQ) { f.settings["enableMultiDispatch"] = "false" },
			Fault, "light message queues off", "set enableMultiDispatch=true in /etc/broker.conf"),
		"settings that are hidden": rocketMQFault(func(f *fakeRocketMQ) { f.settings = nil }, Warning, "does not tell its settings", "enableLmq=true"),
		"a state that is hidden":   rocketMQFault(func(f *fakeRocketMQ) { f.runtime = nil }, Warning, "tells nothing", "access_key"),
		"a broker that loses entries": rocketMQFault(func(f *fakeRocketMQ) { f.version = remoting.Version5_1_4 },
			Warning, "loses entries", "upgrade it to 5.4.0"),
		"a broker older than what is tested": rocketMQFault(func(f *fakeRocketMQ) { f.version = remoting.Version5_0_0 },
			Warning, "the oldest that is tested", "upgrade it to 5.4.0"),
		"a broker's full disk": rocketMQFault(func(f *fakeRocketMQ) { f.runtime["commitLogDiskRatio"] = "0.93" },
			Fault, "93% full", "fileReservedTime"),
		"a broker's full disk of queues": rocketMQFault(func(f *fakeRocketMQ) { f.runtime["consumeQueueDiskRatio"] = "0.93" },
			Fault, "93% full", "larger disk"),
		"a broker's disk that fills": rocketMQFault(func(f *fakeRocketMQ) { f.runtime["commitLogDiskRatio"] = "0.87" },
			Warning, "87% full", "larger disk"),
		"a broker's clock ahead": rocketMQFault(func(f *fakeRocketMQ) { f.runtime["bootTimestamp"] = fmt.Sprint(now.Add(time.Hour).UnixMilli()) },
			Warning, "ahead of that of this machine", "NTP"),
		"a broker's clock behind": rocketMQFault(func(f *fakeRocketMQ) { f.runtime["bootTimestamp"] = fmt.Sprint(now.Add(-time.Hour).UnixMilli()) },
			Warning, "behind that of this machine", "NTP"),
		"a topic that a broker may not write": rocketMQFault(func(f *fakeRocketMQ) { f.queues[0].Perm = remoting.PermRead },
			Warning, `topic "Farm" cannot be written on a`, "mqadmin updateTopic"),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPatient(t)
			tc.plant(p)
			var told []string
			for _, f := range Run(t.Context(), p.o) {
				told = append(told, fmt.Sprint(f))
				if f.Level == OK {
					require.Empty(t, f.Remedy)
					continue
				}
				require.NotEmpty(t, f.Remedy, f.What)
				if f.Area == tc.area && strings.Contains(f.What, tc.what) {
					require.Equal(t, tc.level, f.Level, f.What)
					require.Contains(t, f.Remedy, tc.remedy)
					return
				}
			}
			require.Fail(t, "not found", strings.Join(told, "\n"))
		})
	}
}

func TestTheAddressesOfAGatewayThatServesAreNotTried(t *testing.T) {
	p := newPatient(t)
	p.c.Listeners[0].Address, p.o.Running = p.taken(), true
	for _, f := range Run(t.Context(), p.o) {
		require.Equal(t, OK, f.Level, f.What)
	}
}
